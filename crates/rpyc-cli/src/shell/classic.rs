//! A shell for classic servers: lines are Python, and run by the server.
//!
//! The server's own `codeop` says whether a statement is complete, as its interpreter would. What
//! is printed while it runs comes back through a callback.

use std::io::{self, Write};

use rpyc::{Connection, Netref, Value};

use super::completion::{beginning, split_path};
use super::{Session, Step};
use crate::failure::Failure;

/// Defined in the server, under names that nobody else uses. `run` tells whether a statement is
/// complete (None: it goes on), and if so runs it; `names` completes without calling anything.
const HELPER: &str = r#"
def _rpyc_shell_make(namespace):
    import builtins, codeop, contextlib, sys, traceback

    compiler = codeop.CommandCompiler()
    namespace.setdefault("__builtins__", builtins)

    class Writer:
        encoding = "utf-8"
        def __init__(self, write):
            self.write_text = write
        def write(self, text):
            self.write_text(text)
            return len(text)
        def flush(self):
            pass
        def isatty(self):
            return False

    def run(source, write):
        try:
            code = compiler(source, "<shell>", "single")
        except (OverflowError, SyntaxError, ValueError) as error:
            return "".join(traceback.format_exception_only(type(error), error))
        if code is None:
            return None
        with contextlib.redirect_stdout(Writer(write)), contextlib.redirect_stderr(Writer(write)):
            try:
                exec(code, namespace)
            except SystemExit:
                return False
            except BaseException as error:
                kept = error.__traceback__.tb_next
                return "".join(traceback.format_exception(type(error), error, kept))
        return True

    def names(path):
        if not path:
            return tuple({*namespace, *dir(builtins), *__import__("keyword").kwlist})
        first, *rest = path.split(".")
        value = namespace[first] if first in namespace else getattr(builtins, first)
        for name in rest:
            value = getattr(value, name)
        return tuple(dir(value))

    return run, names
"#;

pub(super) struct Classic {
    run: Netref,
    names: Netref,
    write: Value,
    lines: Vec<String>,
}

impl Classic {
    pub(super) fn new(conn: &Connection) -> Result<Self, Failure> {
        let root = conn.root()?;
        root.call_method("execute", (HELPER,))?;
        let make = root.call_method("eval", ("_rpyc_shell_make",))?;
        let namespace = root.attr("namespace")?;
        let made = make.call((namespace,))?;
        root.call_method("execute", ("del _rpyc_shell_make",))?;
        let (run, names): (Netref, Netref) = made.extract()?;
        let write = rpyc::function(|text: String| {
            let mut out = io::stdout().lock();
            // Where standard output is closed there is nobody to show it to.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        });
        Ok(Self {
            run,
            names,
            write: rpyc::IntoValue::into_value(write),
            lines: Vec::new(),
        })
    }
}

impl Session for Classic {
    fn line(&mut self, line: &str) -> Result<Step, Failure> {
        if self.lines.is_empty() {
            match line.trim() {
                "" => return Ok(Step::Done),
                "exit" | "quit" => return Ok(Step::Exit),
                _ => {}
            }
        }
        self.lines.push(line.to_owned());
        let source = self.lines.join("\n");
        let ran = self.run.call((source, self.write.clone()));
        if !matches!(ran, Ok(Value::None)) {
            self.lines.clear();
        }
        match ran? {
            Value::None => Ok(Step::More),
            Value::Bool(true) => Ok(Step::Done),
            Value::Bool(false) => Ok(Step::Exit),
            Value::Str(traceback) => Err(raised(&traceback)),
            other => Err(Failure::Unexpected(format!(
                "the server's shell answered {other:?}"
            ))),
        }
    }

    fn reset(&mut self) {
        self.lines.clear();
    }

    fn complete(&mut self, text: &str) -> Vec<String> {
        let (object, prefix) = split_path(text);
        let names = self.names.call((object.unwrap_or_default(),));
        let names: Vec<String> = names
            .ok()
            .and_then(|names| names.extract().ok())
            .unwrap_or_default();
        beginning(names, prefix)
    }
}

/// What a statement raised; the traceback's last line says what.
fn raised(traceback: &str) -> Failure {
    let last = traceback.trim_end().lines().last().unwrap_or_default();
    let (class, text) = last.split_once(": ").unwrap_or((last, ""));
    let exception = rpyc::Exception::new(class, text).with_traceback(traceback);
    Failure::Remote(exception)
}
