//! Two ends that talk to each other, without sockets and threads.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::rc::Rc;

use common::endpoint::{Answer, Endpoint, ask, ask_raw, exchange};
use common::object::Value;
use common::unhex;
use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;
use rpyc_proto::limits::Limits;
use rpyc_proto::session::{Session, TooManyPending};
use rpyc_proto::wire::Payload;

const PING: i64 = 1;
const GETROOT: i64 = 3;

/// The handlers, and the numbers of arguments that each takes.
const ARITIES: [(i64, std::ops::RangeInclusive<usize>); 20] = [
    (1, 1..=1),
    (2, 0..=0),
    (3, 0..=0),
    (4, 2..=2),
    (5, 2..=2),
    (6, 3..=3),
    (7, 2..=3),
    (8, 3..=4),
    (9, 1..=1),
    (10, 1..=1),
    (11, 2..=3),
    (12, 1..=1),
    (13, 1..=1),
    (14, 2..=2),
    (15, 1..=2),
    (16, 1..=1),
    (17, 2..=2),
    (18, 6..=6),
    (19, 2..=2),
    (20, 2..=2),
];

#[test]
fn each_handler_does_its_operation() {
    let (mut here, mut there) = pair();
    let root = root_of(&mut here, &mut there);
    let text = Value::text;
    let tuple = Value::Tuple;
    let id = tuple(vec![text("test.Object"), Value::Int(1002), Value::Int(1)]);
    let args = tuple(vec![Value::Int(5), text("five")]);
    let kwargs = tuple(vec![tuple(vec![text("key"), Value::Int(6)])]);
    let slice = vec![text("get"), text("slice"), Value::Int(1), Value::None];
    let slice: Vec<_> = [slice, vec![tuple(vec![])]].concat();
    let expected = [
        (6, vec![text("x"), Value::Int(300)], Value::None),
        (4, vec![text("x")], Value::Int(300)),
        (13, vec![], tuple(vec![text("x")])),
        (5, vec![text("x")], Value::None),
        (13, vec![], tuple(vec![])),
        (
            7,
            vec![args.clone()],
            tuple(vec![text("called"), args.clone(), Value::None]),
        ),
        (
            7,
            vec![args.clone(), kwargs.clone()],
            tuple(vec![text("called"), args.clone(), kwargs.clone()]),
        ),
        (9, vec![], text("<object>")),
        (10, vec![], text("<object>")),
        (
            11,
            vec![Value::Int(1), text("__eq__")],
            tuple(vec![text("__eq__"), Value::Bool(false)]),
        ),
        (
            11,
            vec![root.clone()],
            tuple(vec![text("__cmp__"), Value::Bool(true)]),
        ),
        (12, vec![], Value::Int(42)),
        (
            17,
            vec![Value::Int(2)],
            tuple(vec![Value::Int(0), Value::Int(1)]),
        ),
        (18, slice.clone(), tuple(slice)),
        (19, vec![Value::None], Value::Bool(false)),
        (20, vec![id.clone()], Value::Bool(true)),
    ];
    for (handler, more, value) in expected {
        let args = [vec![root.clone()], more].concat();
        let answer = ask(&mut here, &mut there, handler, args);
        assert_eq!(answer, Answer::Value(value), "handler {handler}");
    }
    assert_eq!(
        ask(&mut here, &mut there, 14, vec![root, Value::Int(2)]),
        raised("ValueError", "pickling is disabled")
    );
    // The id pack of an inspect request goes by value.
    let methods = tuple(vec![tuple(vec![text("__len__"), Value::None])]);
    assert_eq!(
        ask(&mut here, &mut there, 16, vec![id]),
        Answer::Value(methods)
    );
    assert_eq!(
        ask(&mut here, &mut there, 2, vec![]),
        Answer::Value(Value::None)
    );
    assert!(there.model.closed);
}

#[test]
fn callattr_is_getattr_and_call() {
    let (mut here, mut there) = pair();
    let root = root_of(&mut here, &mut there);
    let method = Value::object();
    there
        .model
        .root
        .attributes
        .borrow_mut()
        .insert("method".into(), method);
    let args = Value::Tuple(vec![Value::Int(1)]);
    for kwargs in [None, Some(Value::Tuple(vec![]))] {
        let mut request = vec![root.clone(), Value::text("method"), args.clone()];
        request.extend(kwargs.clone());
        let called = Value::Tuple(vec![
            Value::text("called"),
            args.clone(),
            kwargs.unwrap_or(Value::None),
        ]);
        assert_eq!(
            ask(&mut here, &mut there, 8, request),
            Answer::Value(called)
        );
    }
    let missing = vec![root, Value::text("nope"), args];
    assert_eq!(
        ask(&mut here, &mut there, 8, missing),
        raised("AttributeError", "nope")
    );
}

#[test]
fn a_wrong_number_of_arguments_is_the_requests_error() {
    let (mut here, mut there) = pair();
    for (handler, allowed) in ARITIES {
        for given in 0..=7 {
            let args = vec![Value::Int(1); given];
            let answer = ask(&mut here, &mut there, handler, args);
            let name = Handler::from_wire(handler).unwrap();
            let refusal = raised(
                "TypeError",
                &format!("handler {name:?} does not take {given} arguments"),
            );
            assert_eq!(
                answer == refusal,
                !allowed.contains(&given),
                "{given} arguments for {name:?}: {answer:?}"
            );
        }
    }
    still_works(&mut here, &mut there);
}

#[test]
fn a_handler_is_found_by_equality() {
    let (mut here, mut there) = pair();
    // 1, True and 1.0, each with the boxed arguments (5,).
    for handler in ["51", "03", "183ff0000000000000"] {
        let body = unhex(&format!("11{handler}11511055"));
        let answer = ask_raw(&mut here, &mut there, &body);
        assert_eq!(answer, Answer::Value(Value::Int(5)));
    }
    // Anything else comes back with the error, as the key that was not found.
    for (handler, key) in [
        ("b3", "Int(99)"),
        ("50", "Int(0)"),
        ("4f", "Int(-1)"),
        ("1606393939393939", "Int(999999)"),
        ("080d70696e67", "Text(\"ping\")"),
        ("00", "None"),
        ("1151080a78", "Tuple([Int(1), Text(\"x\")])"),
    ] {
        let body = unhex(&format!("11{handler}11511055"));
        let answer = ask_raw(&mut here, &mut there, &body);
        assert_eq!(answer, raised("KeyError", key));
    }
    // The test's model has no floats. What matters is that neither stands for a handler.
    for handler in [
        "183ff8000000000000",
        "187ff0000000000000",
        "18c000000000000000",
    ] {
        let body = unhex(&format!("11{handler}11511055"));
        let answer = ask_raw(&mut here, &mut there, &body);
        assert!(matches!(answer, Answer::Raised(..)), "{answer:?}");
    }
    still_works(&mut here, &mut there);
}

#[test]
fn malformed_arguments_are_the_requests_error() {
    let (mut here, mut there) = pair();
    let unknown = "12080e0b746573742e4f626a6563745756";
    for (args, name, text) in [
        ("115951", "ValueError", "invalid label 9"),
        ("115051", "ValueError", "invalid label 0"),
        ("115210115951", "ValueError", "invalid label 9"),
        ("115155", "TypeError", "not iterable"),
        ("115255", "ValueError", "expected a tuple of boxed values"),
        ("55", "ValueError", "expected a boxed value"),
        ("1153115152", "ValueError", "expected an id pack"),
        ("11521011531055", "ValueError", "expected an id pack"),
        ("115210115311", "ValueError", "a count of 2"),
        ("11521012", "ValueError", "a count of 3"),
        ("1152101153115152", "ValueError", "expected an id pack"),
        ("115210115312515253", "ValueError", "expected an id pack"),
    ] {
        let body = unhex(&format!("1151{args}"));
        match ask_raw(&mut here, &mut there, &body) {
            Answer::Raised(found, full) => {
                assert_eq!(found, name, "{args}");
                assert!(full.starts_with(text), "{args}: {full}");
            }
            Answer::Value(value) => panic!("{args} gave {value:?}"),
        }
    }
    let body = unhex(&format!("1151115210{}{unknown}", "1153"));
    assert_eq!(
        ask_raw(&mut here, &mut there, &body),
        raised("KeyError", "no test.Object is held")
    );
    still_works(&mut here, &mut there);
}

#[test]
fn arguments_may_come_as_any_iterable() {
    let (mut here, mut there) = pair();
    let items = Value::Tuple(vec![Value::text("from an object")]);
    there
        .model
        .root
        .attributes
        .borrow_mut()
        .insert("items".into(), items);
    let root = root_of(&mut here, &mut there);
    let reference = boxed(&mut here, &root);
    for (args, echoed) in [
        (unhex("11510a78"), Value::Int(0x78)),
        (unhex("1151080a78"), Value::text("x")),
        (unhex("11511055"), Value::Int(5)),
        (reference, Value::text("from an object")),
    ] {
        let body = [vec![0x11, 0x51], args].concat();
        let answer = ask_raw(&mut here, &mut there, &body);
        assert_eq!(answer, Answer::Value(echoed));
    }
    // An object of ours: there it is a proxy, which the test's model can't iterate.
    let body = [vec![0x11, 0x51], boxed(&mut here, &Value::object())].concat();
    let answer = ask_raw(&mut here, &mut there, &body);
    assert_eq!(answer, raised("TypeError", "not iterable"));
}

#[test]
fn values_travel_as_their_labels_say() {
    let (mut here, mut there) = pair();
    let plain = Value::Tuple(vec![Value::Int(1), Value::Tuple(vec![Value::Bool(true)])]);
    assert_eq!(boxed(&mut here, &plain), unhex("115111511003"));
    let object = Value::object();
    let mixed = Value::Tuple(vec![plain.clone(), object.clone()]);
    let encoded = boxed(&mut here, &mixed);
    assert_eq!(encoded[..10], unhex("11521111511151100311")[..]);

    // An object comes back as itself, and its proxy is one and the same there.
    let echoed = ask(&mut here, &mut there, PING, vec![mixed.clone()]);
    assert_eq!(echoed, Answer::Value(mixed));
    let again = ask(&mut here, &mut there, PING, vec![object.clone()]);
    assert_eq!(again, Answer::Value(object));
    let first = root_of(&mut here, &mut there);
    let second = root_of(&mut here, &mut there);
    assert_eq!(first, second);
    let Value::Proxy(proxy) = first else {
        panic!("the root is a proxy here");
    };
    assert_eq!((proxy.count.get(), proxy.name.as_str()), (2, "test.Object"));
}

#[test]
fn a_proxy_of_another_connection_goes_as_a_reference_of_its_own() {
    let (mut here, mut middle) = pair();
    let mut far = Endpoint::new(3);
    let mut middle_to_far = Endpoint::new(4);
    let theirs = root_of(&mut middle_to_far, &mut far);
    middle
        .model
        .root
        .attributes
        .borrow_mut()
        .insert("theirs".into(), theirs.clone());
    let root = root_of(&mut here, &mut middle);
    let args = vec![root, Value::text("theirs")];
    let Answer::Value(Value::Proxy(proxy)) = ask(&mut here, &mut middle, 4, args) else {
        panic!("not a proxy");
    };
    let Value::Proxy(original) = &theirs else {
        panic!("not a proxy");
    };
    assert_eq!(proxy.id, original.id);
    let held = middle.model.exports.get(proxy.id.as_bytes());
    assert_eq!(held.unwrap().object, theirs);
}

#[test]
fn a_large_value_is_held_apart_both_ways() {
    let (mut here, mut there) = pair();
    let large: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let value = Value::Tuple(vec![
        Value::Bytes(large),
        Value::Bytes(vec![1; 40_000]),
        Value::text("small"),
    ]);
    let answer = ask(&mut here, &mut there, PING, vec![value.clone()]);
    assert!(answer == Answer::Value(value), "the echo differs");
    assert_eq!((here.bulk, there.bulk), (2, 2));
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let (mut here, mut there) = pair();
    let mine: Vec<_> = (0..50)
        .map(|i| here.request(PING, vec![Value::Int(i)]))
        .collect();
    let theirs: Vec<_> = (0..50)
        .map(|i| there.request(PING, vec![Value::Int(-i)]))
        .collect();
    assert_eq!(mine, theirs, "each side counts its own requests");
    assert_eq!(here.session.cancel(mine[7]), Some("request"));
    exchange(&mut here, &mut there);
    assert_eq!(here.orphans, [Some(mine[7])]);
    assert_eq!(here.answers.len(), 49);
    for (i, seq) in (0..).zip(theirs) {
        assert_eq!(there.answers[&seq], Answer::Value(Value::Int(-i)));
    }
    assert_eq!(here.session.open().count(), 0);
}

#[test]
fn open_requests_are_bounded() {
    let limits = Limits {
        pending: 2,
        ..Limits::default()
    };
    let mut session = Session::new(&limits);
    let first = session.begin("a").unwrap();
    session.begin("b").unwrap();
    assert_eq!(session.begin("c"), Err(TooManyPending { limit: 2 }));
    assert_eq!(session.waiter(first), Some(&"a"));
    session.cancel(first);
    let next = session.begin("d").unwrap();
    assert!(next > first);
    let mut waiting: Vec<_> = session.drain().collect();
    waiting.sort_unstable();
    assert_eq!(waiting, ["b", "d"]);
    assert_eq!(session.open().count(), 0);
}

#[test]
fn references_to_what_is_dropped_undecoded_are_found() {
    let (mut here, _) = pair();
    let (one, two) = (Value::object(), Value::object());
    let value = Value::Tuple(vec![
        Value::Tuple(vec![Value::Int(1), one.clone()]),
        two,
        Value::text("plain"),
        one,
    ]);
    let mut bytes = vec![0; 3];
    bytes.extend(boxed(&mut here, &value));
    let whole = Payload::<Vec<u8>>::plain(bytes.clone());
    let ids = |payload: &Payload<Vec<u8>>| -> Vec<_> {
        boxing::remote_refs(payload, 3)
            .iter()
            .map(rpyc_proto::id::IdPack::canonical)
            .collect()
    };
    let found = ids(&whole);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], found[2]);
    assert_ne!(found[0], found[1]);
    for id in &found {
        assert!(here.model.exports.get(id.as_bytes()).is_some());
    }
    // Cut anywhere: the references before the cut, and no panic.
    for length in 3..bytes.len() {
        let cut = ids(&Payload::plain(bytes[..length].to_vec()));
        assert!(found.starts_with(&cut));
        assert!(cut.len() < found.len());
    }
}

fn pair() -> (Endpoint, Endpoint) {
    (Endpoint::new(1), Endpoint::new(2))
}

fn root_of(here: &mut Endpoint, there: &mut Endpoint) -> Value {
    match ask(here, there, GETROOT, vec![]) {
        Answer::Value(root @ Value::Proxy(_)) => root,
        other => panic!("{other:?} is no root"),
    }
}

fn still_works(here: &mut Endpoint, there: &mut Endpoint) {
    let object = Value::Object(Rc::default());
    let answer = ask(here, there, PING, vec![object.clone()]);
    assert_eq!(answer, Answer::Value(object));
    assert_eq!(here.session.open().count(), 0);
}

fn raised(name: &str, text: &str) -> Answer {
    Answer::Raised(name.to_owned(), text.to_owned())
}

fn boxed(end: &mut Endpoint, value: &Value) -> Vec<u8> {
    let mut out = rpyc_proto::wire::Writer::new();
    boxing::put_boxed(&mut end.model, &mut out, value).unwrap();
    out.into_payload().to_vec()
}
