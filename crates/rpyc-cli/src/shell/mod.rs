//! `rpyc shell`: work with a server line by line.
//!
//! A classic server runs the lines as Python; with any other one they are expressions over its root
//! object. At a terminal lines can be edited, are kept in a history, and names are completed; a shell
//! that is given a script ends at its first error, with the exit code of that error.

mod classic;
mod completion;
mod plain;

use std::io::IsTerminal;
use std::path::PathBuf;

use rpyc::Connection;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::arguments::Shell;
use crate::failure::Failure;
use crate::output;
use classic::Classic;
use completion::Completion;
use plain::Plain;

/// How many lines the history keeps.
const HISTORY: usize = 1000;

/// What runs the lines of a shell.
pub(crate) trait Session {
    /// Runs a line.
    fn line(&mut self, line: &str) -> Result<Step, Failure>;

    /// Forgets the lines of a statement that is not complete.
    fn reset(&mut self);

    /// What a text can go on with, after its last dot or from its beginning.
    fn complete(&mut self, text: &str) -> Vec<String>;
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was run.
    Done,
    /// The statement goes on in the next line.
    More,
    /// The shell is to end.
    Exit,
}

/// Whether a server offers its interpreter.
pub(crate) fn is_classic(conn: &Connection) -> Result<bool, Failure> {
    let names = conn.root()?.dir()?;
    let has = |wanted: &str| {
        names
            .iter()
            .any(|name| name.strip_prefix("exposed_").unwrap_or(name) == wanted)
    };
    Ok(["eval", "execute", "getmodule"].into_iter().all(has))
}

pub(crate) fn run(shell: &Shell) -> Result<(), Failure> {
    let conn = shell.target.connect()?;
    let classic = is_classic(&conn)?;
    let interactive = std::io::stdin().is_terminal();
    if interactive {
        let kind = if classic {
            "lines are Python, run by the server"
        } else {
            "expressions begin with root; x = root.f(1) keeps a value"
        };
        output::line(&format!(
            "connected to {}: {kind}. Ctrl-D or exit ends the shell.",
            shell.target.address
        ))?;
    }
    let session: Box<dyn Session + '_> = if classic {
        Box::new(Classic::new(&conn)?)
    } else {
        Box::new(Plain::new(&conn))
    };
    let result = converse(session, interactive, history(shell));
    conn.close();
    result
}

fn history(shell: &Shell) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".rpyc_history"));
    shell.history.clone().or_else(home)
}

fn converse(
    session: Box<dyn Session + '_>,
    interactive: bool,
    history: Option<PathBuf>,
) -> Result<(), Failure> {
    let failed = |error: ReadlineError| Failure::local("the terminal", error);
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY)
        .map_err(failed)?
        .auto_add_history(true)
        .build();
    let mut editor: Editor<Completion<'_>, FileHistory> =
        Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Completion::new(session)));
    let history = history.filter(|_| interactive);
    if let Some(path) = &history {
        // There is none at first.
        let _ = editor.load_history(path);
    }
    let mut step = Step::Done;
    let result = loop {
        let prompt = if step == Step::More { "... " } else { ">>> " };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                if let Some(helper) = editor.helper() {
                    helper.session().reset();
                }
                step = Step::Done;
                continue;
            }
            Err(ReadlineError::Eof) => {
                // An empty line ends the statement that is open, if anything does.
                let last = match editor.helper() {
                    Some(helper) if step == Step::More => helper.session().line(""),
                    _ => Ok(Step::Done),
                };
                break match last {
                    Ok(Step::More) => Err(Failure::Usage(
                        "the last statement is not complete".to_owned(),
                    )),
                    other => other.map(drop),
                };
            }
            Err(error) => break Err(failed(error)),
        };
        let Some(helper) = editor.helper() else {
            break Ok(());
        };
        step = match helper.session().line(&line) {
            Ok(Step::Exit) => break Ok(()),
            Ok(step) => step,
            Err(failure @ (Failure::Remote(_) | Failure::Usage(_) | Failure::TimedOut(_)))
                if interactive =>
            {
                failure.report(true);
                Step::Done
            }
            Err(failure) => break Err(failure),
        };
    };
    if let Some(path) = &history
        && let Err(error) = editor.save_history(path)
    {
        log::warn!("the history was not saved: {}: {error}", path.display());
    }
    result
}
