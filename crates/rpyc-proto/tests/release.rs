//! Reference counts across two ends, and releases that are found without unboxing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::rc::Rc;

use common::endpoint::{Answer, Endpoint, ask, exchange};
use common::object::{Object, Value};
use common::unhex;
use rpyc_proto::dispatch::{self, peek_release};
use rpyc_proto::exports::{Exports, Released};
use rpyc_proto::id::EncodedId;
use rpyc_proto::message::Message;
use rpyc_proto::wire::{Payload, Writer};

const GETROOT: i64 = 3;
const DEL: i64 = 15;

#[test]
fn each_reference_counts_and_one_release_takes_them_back() {
    let (mut owner, mut holder) = pair();
    let (object, weak) = object();
    // Twice in one message, once more in another.
    ask(
        &mut owner,
        &mut holder,
        1,
        vec![Value::Tuple(vec![object.clone(), object.clone()])],
    );
    let kept = keep(&mut owner, &mut holder, object);
    let Value::Proxy(proxy) = &kept else {
        panic!("not a proxy");
    };
    // The holder's proxy died after the first message: two references went with it.
    assert_eq!(proxy.count.get(), 1);
    assert_eq!(references(&owner, proxy.id.as_bytes()), 3);
    let id = proxy.id.clone();
    owner.model.release_id(&id, 2).unwrap();
    assert_eq!(weak.strong_count(), 1, "one reference is left");
    release(&mut holder, &mut owner, kept);
    assert_eq!(weak.strong_count(), 0);
    assert!(owner.model.exports.is_empty());
}

#[test]
fn odd_counts_do_what_rpyc_does() {
    // References handed out, count released, references left.
    for (handed_out, count, left) in [
        (2, 1, 1),
        (3, 3, 0),
        (1, 0, 1),
        (1, -5, 6),
        (1, 99, 0),
        (2, i64::MAX, 0),
        (2, i64::MIN, i64::MAX),
    ] {
        let mut table = Exports::default();
        let id = EncodedId::new("m.C", 7, 9);
        table.insert(id.clone(), 100, "object");
        for _ in 1..handed_out {
            table.export_again(100).unwrap();
        }
        let released = table.release(id.as_bytes(), count);
        if left == 0 {
            assert_eq!(released, Released::Gone("object"));
            assert!(table.is_empty());
            assert!(table.id_of(100).is_none());
        } else {
            assert_eq!(released, Released::Kept, "{handed_out} less {count}");
            assert_eq!(table.get(id.as_bytes()).unwrap().references, left);
        }
    }
}

#[test]
fn a_release_of_what_is_not_held_is_an_error_and_harmless() {
    let (mut owner, mut holder) = pair();
    let root = root_of(&mut holder, &mut owner);
    for args in [
        vec![Value::Int(5)],
        vec![Value::Int(5), Value::Int(1)],
        vec![Value::object(), Value::Int(1)],
    ] {
        match ask(&mut holder, &mut owner, DEL, args) {
            Answer::Raised(name, _) => assert_eq!(name, "KeyError"),
            Answer::Value(value) => panic!("{value:?}"),
        }
    }
    let twice = root.clone();
    release(&mut holder, &mut owner, root);
    assert!(owner.model.exports.is_empty());
    let seq = holder.release(twice.clone());
    exchange(&mut holder, &mut owner);
    assert!(matches!(&holder.answers[&seq], Answer::Raised(name, _) if name == "KeyError"));
    match ask(&mut holder, &mut owner, 9, vec![twice]) {
        Answer::Raised(name, _) => assert_eq!(name, "KeyError", "use after release"),
        Answer::Value(value) => panic!("{value:?}"),
    }
}

#[test]
fn a_proxy_that_dies_while_its_object_is_sent_again_loses_nothing() {
    let (mut owner, mut holder) = pair();
    let first = root_of(&mut holder, &mut owner);
    // The next reference is under way when the first proxy dies.
    let again = holder.request(GETROOT, vec![]);
    let released = holder.release(first);
    exchange(&mut holder, &mut owner);
    assert_eq!(holder.answers[&released], Answer::Value(Value::None));
    let Some(Answer::Value(second)) = holder.answers.remove(&again) else {
        panic!("no root");
    };
    let alive = ask(&mut holder, &mut owner, 12, vec![second.clone()]);
    assert_eq!(alive, Answer::Value(Value::Int(42)));
    release(&mut holder, &mut owner, second);
    assert!(owner.model.exports.is_empty());
}

#[test]
fn releases_are_applied_in_order_of_arrival() {
    let (mut owner, mut holder) = pair();
    let root = root_of(&mut holder, &mut owner);
    let before = holder.request(12, vec![root.clone()]);
    holder.release(root.clone());
    let after = holder.request(12, vec![root]);
    let fresh = holder.request(GETROOT, vec![]);
    exchange(&mut holder, &mut owner);
    assert_eq!(holder.answers[&before], Answer::Value(Value::Int(42)));
    assert!(matches!(&holder.answers[&after], Answer::Raised(name, _) if name == "KeyError"));
    assert!(matches!(holder.answers[&fresh], Answer::Value(_)));
}

#[test]
fn only_plain_releases_are_recognised_without_unboxing() {
    let id = EncodedId::new("m.C", 7, 9);
    let with_count = |put: &dyn Fn(&mut Writer<Vec<u8>>)| {
        let mut out = Writer::new();
        dispatch::put_request(&mut out, rpyc_proto::message::Dialect::V6, 0, DEL);
        dispatch::put_target(&mut out, id.as_bytes(), 1);
        dispatch::put_boxed_with(&mut out, put);
        out.into_payload()
    };
    for count in [1, 0, -3, 160, i64::MAX] {
        assert_eq!(peeked(&with_count(&|out| out.put_int(count))), Some(count));
    }
    let mut out = Writer::new();
    dispatch::put_request(&mut out, rpyc_proto::message::Dialect::V6, 0, DEL);
    dispatch::put_target(&mut out, id.as_bytes(), 0);
    assert_eq!(peeked(&out.into_payload()), Some(1));

    assert_eq!(peeked(&with_count(&|out| out.put_none())), None);
    assert_eq!(peeked(&with_count(&|out| out.put_str("1"))), None);
    assert_eq!(peeked(&with_count(&|out| out.put_float(1.0))), None);
    let beyond = with_count(&|out| out.put_int_text("99999999999999999999"));
    assert_eq!(peeked(&beyond), None);
    for (what, body) in [
        ("another handler", "1160115211115312080a6d5759115151"),
        ("a value", "115f115211115155115151"),
        (
            "a reference to an object of the sender",
            "115f115211115412080a6d5759115151",
        ),
        ("three arguments", "115f115212115312080a6d5759115151115151"),
        ("no arguments", "115f115202"),
        ("arguments by value", "115f11511055"),
        (
            "a reference as count",
            "115f115211115312080a6d5759115312080a6d5759",
        ),
        ("a cut id pack", "115f115211115312080a6d57"),
        ("no body", ""),
    ] {
        let mut payload = vec![1, 0x11, 0x50];
        payload.extend(unhex(body));
        assert_eq!(peeked(&Payload::plain(payload)), None, "{what}");
    }
}

/// The count of a release, after checking whose it is.
fn peeked(payload: &Payload<Vec<u8>>) -> Option<i64> {
    let body = Message::parse(payload).map_or(3, |message| message.body);
    let (id, count) = peek_release(payload, body)?;
    assert_eq!(id.canonical(), EncodedId::new("m.C", 7, 9));
    Some(count)
}

fn pair() -> (Endpoint, Endpoint) {
    (Endpoint::new(1), Endpoint::new(2))
}

fn object() -> (Value, std::rc::Weak<Object>) {
    let object = Rc::default();
    let weak = Rc::downgrade(&object);
    (Value::Object(object), weak)
}

fn root_of(here: &mut Endpoint, there: &mut Endpoint) -> Value {
    match ask(here, there, GETROOT, vec![]) {
        Answer::Value(root @ Value::Proxy(_)) => root,
        other => panic!("{other:?} is no root"),
    }
}

/// Puts the owner's object into an attribute of the holder's root, and takes the proxy from there.
fn keep(owner: &mut Endpoint, holder: &mut Endpoint, object: Value) -> Value {
    let root = root_of(owner, holder);
    let args = vec![root, Value::text("kept"), object];
    assert_eq!(ask(owner, holder, 6, args), Answer::Value(Value::None));
    let kept = holder.model.root.attributes.borrow_mut().remove("kept");
    kept.unwrap()
}

fn release(holder: &mut Endpoint, owner: &mut Endpoint, proxy: Value) {
    let seq = holder.release(proxy);
    exchange(holder, owner);
    assert_eq!(
        holder.answers.remove(&seq),
        Some(Answer::Value(Value::None))
    );
}

fn references(owner: &Endpoint, id: &[u8]) -> i64 {
    owner.model.exports.get(id).unwrap().references
}
