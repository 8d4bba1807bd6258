//! `#[derive(rpyc::FromValue, rpyc::IntoValue)]`.

use std::sync::Arc;

use rpyc::{Connection, IntoValue, Value};

use crate::account::Transfer;

#[derive(Debug, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
struct Id(u32);

#[derive(Debug, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
struct Pair<T>(T, Option<T>);

#[derive(Debug, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
struct Nothing;

#[test]
fn structs_are_tuples() {
    let transfer = Transfer {
        amount: 1,
        target: "x".to_owned(),
    };
    let value = transfer.clone().into_value();
    assert_eq!(format!("{value:?}"), "(1, 'x')");
    assert_eq!(value.extract::<Transfer>().unwrap(), transfer);
    assert_eq!(Id(3).into_value(), Value::Int(3));
    assert_eq!(Value::Int(3).extract::<Id>().unwrap(), Id(3));
    assert_eq!(
        (1, ()).into_value().extract::<Pair<i64>>().unwrap(),
        Pair(1, None)
    );
    assert_eq!(Nothing.into_value(), Value::None);
    assert_eq!(Value::None.extract::<Nothing>().unwrap(), Nothing);
    for (value, text) in [
        (
            (1,).into_value(),
            "expected a tuple of 2 items for Transfer, found one of 1",
        ),
        (
            1.into_value(),
            "expected a tuple of 2 items for Transfer, found int",
        ),
        (
            ("a", "b").into_value(),
            "expected int, found str (in Transfer.amount)",
        ),
    ] {
        assert_eq!(value.extract::<Transfer>().unwrap_err().to_string(), text);
    }
}

/// Attributes of a remote object are its fields.
#[test]
fn structs_are_read_from_remote_objects() {
    struct Remote;
    #[rpyc::service]
    impl Remote {
        #[rpyc(property)]
        fn amount(&self) -> i64 {
            7
        }
        #[rpyc(property)]
        fn to(&self) -> &'static str {
            "them"
        }
    }
    let (here, there) = Connection::pair(None, Some(Arc::new(Remote))).unwrap();
    let server = there.serve_in_thread().unwrap();
    let transfer: Transfer = here.root_as().unwrap();
    assert_eq!(
        transfer,
        Transfer {
            amount: 7,
            target: "them".to_owned()
        }
    );
    let error = here.root_as::<Pair<i64>>().unwrap_err().to_string();
    assert!(
        error.contains("expected a tuple of 2 items for Pair"),
        "{error}"
    );
    here.close();
    server.join().unwrap().unwrap();
}
