//! The session against a plain table.

use std::collections::BTreeMap;

use rpyc_proto::consts::MessageKind;
use rpyc_proto::limits::Limits;
use rpyc_proto::message::{self, Dialect};
use rpyc_proto::session::{Event, Session};
use rpyc_proto::wire::{Payload, Writer};

const LIMIT: usize = 8;

/// Performs the operations that `data` spells, on a session and on a table.
///
/// # Panics
/// They come to differ.
pub fn check(data: &[u8]) {
    let limits = Limits {
        pending: LIMIT,
        ..Limits::default()
    };
    let mut session: Session<u64> = Session::new(&limits);
    let mut table: BTreeMap<u64, u64> = BTreeMap::new();
    let mut next = 0;
    for (step, pair) in (0..).zip(data.chunks_exact(2)) {
        let seq = u64::from(pair[1] % 24);
        match pair[0] % 8 {
            0 | 1 => {
                let begun = session.begin(step);
                assert_eq!(begun.is_ok(), table.len() < LIMIT);
                if let Ok(seq) = begun {
                    assert_eq!(seq, next, "numbers count up, and are never used again");
                    table.insert(seq, step);
                }
                next += 1;
            }
            2 => {
                assert_eq!(session.take_seq(), next);
                next += 1;
            }
            3 => assert_eq!(session.cancel(seq), table.remove(&seq)),
            4 => assert_eq!(session.insert(seq, step), table.insert(seq, step)),
            5 => {
                let kind = if pair[1] < 128 {
                    MessageKind::Reply
                } else {
                    MessageKind::Exception
                };
                let event = session.handle(&answer(kind, seq)).expect("a message");
                match (event, table.remove(&seq)) {
                    (
                        Event::Answer {
                            waiter,
                            is_exception,
                            ..
                        },
                        Some(expected),
                    ) => {
                        assert_eq!(waiter, expected);
                        assert_eq!(is_exception, kind == MessageKind::Exception);
                    }
                    (Event::Orphan { number, .. }, None) => assert_eq!(number, Some(seq)),
                    (event, expected) => panic!("{event:?} instead of {expected:?}"),
                }
            }
            6 => {
                let event = session.handle(&answer(MessageKind::Request, seq));
                assert!(matches!(event, Ok(Event::Request { .. })));
            }
            // Whatever the rest spells. An answer may be among it.
            _ => {
                let from = usize::try_from(step).unwrap_or_default() * 2;
                let payload: Payload<Vec<u8>> = Payload::plain(data[from + 1..].to_vec());
                if let Ok(Event::Answer { waiter, .. }) = session.handle(&payload) {
                    let seq = table
                        .iter()
                        .find(|(_, known)| **known == waiter)
                        .map(|(seq, _)| *seq);
                    table.remove(&seq.expect("somebody waited for it"));
                }
            }
        }
        let mut open: Vec<u64> = session.open().collect();
        open.sort_unstable();
        assert!(open.iter().eq(table.keys()));
    }
    let mut left: Vec<u64> = session.drain().collect();
    left.sort_unstable();
    let mut expected: Vec<u64> = table.into_values().collect();
    expected.sort_unstable();
    assert_eq!(left, expected);
}

fn answer(kind: MessageKind, seq: u64) -> Payload<Vec<u8>> {
    let mut out = Writer::new();
    message::put_numbered_head(&mut out, Dialect::V6, kind, seq);
    out.put_none();
    out.into_payload()
}
