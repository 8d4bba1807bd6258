//! `#[rpyc::service]`: what a peer finds, and how it is called.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use rpyc::{Args, Value};

use crate::account::connect;

#[test]
fn methods_take_arguments_by_position_and_by_name() {
    let (_, conn, end) = connect();
    let root = conn.root().unwrap();
    let text = |value: rpyc::Result<Value>| format!("{:?}", value.unwrap());
    assert_eq!(text(root.call_method("pay_in", (5,))), "5");
    assert_eq!(
        text(root.call_method(
            "pay_in",
            Args::default().keyword("note", "x").keyword("amount", 2)
        )),
        "7"
    );
    assert_eq!(
        text(root.call_method("sum", (vec![1, 2], b"\x03".as_slice()))),
        "6"
    );
    assert_eq!(
        text(root.call_method("transfer", ((3, "me"),))),
        "('3 to me', None)"
    );
    let more = Args::new((1, 2, 3)).keyword("a", 4);
    assert_eq!(text(root.call_method("everything", more)), "(1, 2, 'a=4')");
    assert_eq!(text(root.call_method("from", ())), "'here'");
    assert_eq!(text(root.attr("peer")), "'memory'");
    assert_eq!(root.len().unwrap(), 3);
    end();
}

#[test]
fn only_what_is_marked_is_there() {
    let (_, conn, end) = connect();
    let root = conn.root().unwrap();
    assert_eq!(root.class_name(), "macros.account.Account");
    assert_eq!(
        root.doc().unwrap().unwrap(),
        "An account.\n\nIt holds money."
    );
    let docs: HashMap<_, _> = root.methods().unwrap().into_iter().collect();
    assert_eq!(docs["pay_in"].as_deref(), Some("Adds to the balance."));
    assert_eq!(docs["close"], None);
    let names = root.dir().unwrap();
    assert!(
        names.contains(&"balance".to_owned()) && names.contains(&"from".to_owned()),
        "{names:?}"
    );
    assert!(!names.contains(&"record".to_owned()), "{names:?}");
    for error in [
        root.call_method("record", ("x",)).unwrap_err(),
        root.attr("record").unwrap_err(),
        root.set_attr("peer", 1).unwrap_err(),
        root.set_attr("record", 1).unwrap_err(),
        root.call_method("connected", ()).unwrap_err(),
    ] {
        assert!(error.is("AttributeError"), "{error}");
    }
    end();
}

#[test]
fn the_object_itself_can_be_handed_out() {
    let (account, conn, end) = connect();
    let root = conn.root().unwrap();
    assert!(
        root.call_method("__enter__", ())
            .unwrap()
            .as_netref()
            .unwrap()
            .is(&root)
    );
    assert!(account.entered.load(Ordering::SeqCst));
    root.call_method("__exit__", ((), (), ())).unwrap();
    assert!(!account.entered.load(Ordering::SeqCst));
    assert_eq!(
        root.call_method("is_same", (&root,)).unwrap(),
        Value::Bool(true)
    );
    let child = root.call_method("child", ()).unwrap();
    assert_eq!(
        root.call_method("is_same", (child,)).unwrap(),
        Value::Bool(false)
    );
    let error = root
        .call_method("is_same", (rpyc::function(|| 1),))
        .unwrap_err();
    assert!(
        error.to_string().contains("expected a remote object")
            || error.to_string().contains("a local"),
        "{error}"
    );
    end();
}

#[test]
fn async_methods_are_waited_for() {
    let (_, conn, end) = connect();
    let root = conn.root().unwrap();
    root.set_attr("balance", 20).unwrap();
    let double = rpyc::function(|x: i64| 2 * x);
    assert_eq!(
        root.call_method("later", (double,)).unwrap(),
        Value::Int(40)
    );
    // So is a bound method.
    let later = root.attr("later").unwrap();
    assert_eq!(
        later.call((rpyc::function(|x: i64| x + 1),)).unwrap(),
        Value::Int(21)
    );
    end();
}

#[test]
fn hooks_are_called() {
    let (account, conn, end) = connect();
    conn.ping().unwrap();
    drop(conn);
    end();
    assert_eq!(*account.log.lock(), ["connected: true", "disconnected"]);
}
