//! The builtin exceptions of Python and their bases.

/// The module of builtin classes.
pub(super) const MODULE: &str = "builtins";

/// The bases of a builtin exception class, nearest first. Source: "Exception hierarchy" in the
/// Python Library Reference.
pub(super) fn bases(name: &str) -> impl Iterator<Item = &'static str> {
    std::iter::successors(base(name), |base_name| base(base_name))
}

fn base(name: &str) -> Option<&'static str> {
    Some(match name {
        "BaseException" => return None,
        "BaseExceptionGroup" | "GeneratorExit" | "KeyboardInterrupt" | "SystemExit"
        | "Exception" => "BaseException",
        "FloatingPointError" | "OverflowError" | "ZeroDivisionError" => "ArithmeticError",
        "ModuleNotFoundError" => "ImportError",
        "IndexError" | "KeyError" => "LookupError",
        "UnboundLocalError" => "NameError",
        "BrokenPipeError"
        | "ConnectionAbortedError"
        | "ConnectionRefusedError"
        | "ConnectionResetError" => "ConnectionError",
        "BlockingIOError" | "ChildProcessError" | "ConnectionError" | "FileExistsError"
        | "FileNotFoundError" | "InterruptedError" | "IsADirectoryError" | "NotADirectoryError"
        | "PermissionError" | "ProcessLookupError" | "TimeoutError" => "OSError",
        "NotImplementedError" | "RecursionError" | "PythonFinalizationError" => "RuntimeError",
        "IndentationError" => "SyntaxError",
        "TabError" => "IndentationError",
        "UnicodeDecodeError" | "UnicodeEncodeError" | "UnicodeTranslateError" => "UnicodeError",
        "UnicodeError" => "ValueError",
        "BytesWarning"
        | "DeprecationWarning"
        | "EncodingWarning"
        | "FutureWarning"
        | "ImportWarning"
        | "PendingDeprecationWarning"
        | "ResourceWarning"
        | "RuntimeWarning"
        | "SyntaxWarning"
        | "UnicodeWarning"
        | "UserWarning" => "Warning",
        _ => "Exception",
    })
}
