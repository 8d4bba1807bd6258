//! Completing names with the tabulator key.

use std::cell::{RefCell, RefMut};

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::Session;

/// Asks the session what a line can go on with.
pub(super) struct Completion<'a> {
    session: RefCell<Box<dyn Session + 'a>>,
}

impl<'a> Completion<'a> {
    pub(super) const fn new(session: Box<dyn Session + 'a>) -> Self {
        Self {
            session: RefCell::new(session),
        }
    }

    pub(super) fn session(&self) -> RefMut<'_, Box<dyn Session + 'a>> {
        self.session.borrow_mut()
    }
}

impl Completer for Completion<'_> {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..position).unwrap_or_default();
        let (start, text) = last_path(line);
        if text.is_empty() {
            return Ok((position, Vec::new()));
        }
        let name = text.rfind('.').map_or(0, |dot| dot + 1);
        let mut found = self.session().complete(text);
        found.sort_unstable();
        found.dedup();
        Ok((start + name, found))
    }
}

/// The names and dots at the end of a line.
fn last_path(line: &str) -> (usize, &str) {
    let is_part = |char: char| char == '.' || char == '_' || char.is_alphanumeric();
    let path = line.trim_end_matches(is_part);
    (path.len(), &line[path.len()..])
}

/// Splits `a.b.pre` into `a.b` and `pre`.
pub(super) fn split_path(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('.') {
        Some((object, prefix)) => (Some(object), prefix),
        None => (None, text),
    }
}

/// The names that begin so; special ones only if asked for.
pub(super) fn beginning(names: Vec<String>, prefix: &str) -> Vec<String> {
    let fits = |name: &String| {
        name.starts_with(prefix) && (prefix.starts_with('_') || !name.starts_with('_'))
    };
    names.into_iter().filter(fits).collect()
}

impl Hinter for Completion<'_> {
    type Hint = String;
}
impl Highlighter for Completion<'_> {}
impl Validator for Completion<'_> {}
impl Helper for Completion<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_at_the_cursor_is_completed() {
        assert_eq!(last_path("x = root.ad"), (4, "root.ad"));
        assert_eq!(last_path("f("), (2, ""));
        assert_eq!(split_path("a.b.pre"), (Some("a.b"), "pre"));
        assert_eq!(split_path("pre"), (None, "pre"));
        let names = vec!["add".to_owned(), "__add__".to_owned()];
        assert_eq!(beginning(names.clone(), ""), ["add"]);
        assert_eq!(beginning(names, "__"), ["__add__"]);
    }
}
