//! Introductions: a root that comes with what would be asked about it next.
//!
//! Who asks for the root of a peer asks for its methods after that, and then for one of them. An asker
//! that wants to be told all of it at once writes the arguments of the request, none, in the long
//! form of an empty tuple. Peers that know nothing of it read the same request as ever.

use crate::boxing;
use crate::consts::Label;
use crate::dispatch;
use crate::wire::{Payload, Writer, tag};

/// What an introduction starts with; the root and its description follow.
pub const MARK: &str = "introduction";

/// An empty tuple, as nobody writes it otherwise.
const LONG_EMPTY_TUPLE: [u8; 2] = [tag::TUP_L1, 0];

/// Writes the boxed arguments of a request for the root that asks for an introduction.
pub fn put_arguments<B>(out: &mut Writer<B>) {
    dispatch::put_boxed_with(out, |out| out.put_raw(&LONG_EMPTY_TUPLE));
}

/// Whether a request for the root asks for an introduction.
#[must_use]
pub fn is_wanted<B>(payload: &Payload<B>, body: usize) -> bool {
    let Some(arguments) = dispatch::args_offset(payload, body) else {
        return false;
    };
    let mut reader = payload.reader_at(arguments);
    reader.step_into_pair() == Some(i64::from(Label::Value.number()))
        && payload.head.get(reader.position()..) == Some(&LONG_EMPTY_TUPLE)
}

/// Starts the boxed introduction: the boxed description and the boxed root must follow.
pub fn put_head<B>(out: &mut Writer<B>) {
    boxing::put_label(out, Label::Tuple);
    out.put_tuple(3);
    dispatch::put_boxed_with(out, |out| out.put_str(MARK));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consts::Handler;
    use crate::message::{Dialect, Message};

    fn request(dialect: Dialect, put: impl FnOnce(&mut Writer<()>)) -> (Payload<()>, usize) {
        let mut out = Writer::<()>::new();
        dispatch::put_request(&mut out, dialect, 3, i64::from(Handler::GetRoot.number()));
        put(&mut out);
        let payload = out.into_payload();
        let body = Message::parse(&payload).map_or(0, |message| message.body);
        (payload, body)
    }

    #[test]
    fn an_asker_is_recognized() {
        for dialect in [Dialect::V5, Dialect::V6] {
            let (payload, body) = request(dialect, put_arguments);
            assert!(is_wanted(&payload, body));
        }
    }

    #[test]
    fn others_are_not() {
        let plain = |out: &mut Writer<()>| dispatch::put_boxed_with(out, |out| out.put_tuple(0));
        let more = |out: &mut Writer<()>| {
            put_arguments(out);
            out.put_none();
        };
        let tuple = |out: &mut Writer<()>| {
            boxing::put_label(out, Label::Tuple);
            out.put_raw(&LONG_EMPTY_TUPLE);
        };
        let nothing = |_: &mut Writer<()>| {};
        for put in [plain, more, tuple, nothing] {
            let put: fn(&mut Writer<()>) = put;
            let (payload, body) = request(Dialect::V6, put);
            assert!(!is_wanted(&payload, body));
        }
    }
}
