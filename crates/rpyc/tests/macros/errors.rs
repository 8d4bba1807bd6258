//! `#[derive(rpyc::Error)]`, and what a service answers to wrong arguments.

use rpyc::{Args, Exception, Value};

use crate::account::connect;

#[test]
fn errors_are_exceptions_of_their_class() {
    let (_, conn, end) = connect();
    let root = conn.root().unwrap();
    let error = root.call_method("pay_in", (-1,)).unwrap_err();
    assert_eq!(error.to_string(), "ValueError: -1 is negative");
    let error = root.call_method("take_out", (8,)).unwrap_err();
    assert_eq!(error.to_string(), "bank.Overdrawn: this account lacks 8");
    assert!(error.is("bank.Overdrawn") && !error.is("ValueError"));
    assert_eq!(
        error.exception().unwrap().attribute("missing"),
        Some(&Value::Int(8))
    );
    let error = root.call_method("close", ()).unwrap_err();
    assert_eq!(error.to_string(), "macros.account.AccountError: closed");
    let error = root.call_method("panics", ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "RuntimeError: the method panicked: the vault is empty"
    );
    assert!(
        root.call_method("by_hand", ())
            .unwrap_err()
            .is("StopIteration")
    );
    // An exception of a callback goes through as it is.
    let refuse = rpyc::function(|_: String| Err::<(), _>(Exception::new("LookupError", "no")));
    let error = root.call_method("notify", (refuse,)).unwrap_err();
    assert!(error.is("LookupError"), "{error}");
    conn.ping().unwrap();
    end();
}

#[test]
fn wrong_arguments_name_the_method_and_the_parameter() {
    let (_, conn, end) = connect();
    let root = conn.root().unwrap();
    for (method, args, text) in [
        (
            "pay_in",
            Args::default(),
            "pay_in() missing required argument 'amount'",
        ),
        (
            "pay_in",
            Args::new((1, "a", 2)),
            "pay_in() takes 2 positional arguments but 3 were given",
        ),
        (
            "pay_in",
            Args::new((1,)).keyword("amount", 2),
            "pay_in() got multiple values for argument 'amount'",
        ),
        (
            "pay_in",
            Args::new((1,)).keyword("nope", 2),
            "pay_in() got an unexpected keyword argument 'nope'",
        ),
        (
            "pay_in",
            Args::new(("x",)),
            "pay_in() argument 'amount': expected int, found str",
        ),
        (
            "transfer",
            Args::new(((1, 2),)),
            "transfer() argument 'transfer': expected str, found int (in Transfer.target)",
        ),
        (
            "later",
            Args::new((1,)),
            "later() argument 'callback': expected a remote object, found int",
        ),
    ] {
        let error = root.call_method(method, args).unwrap_err();
        assert_eq!(error.to_string(), format!("TypeError: {text}"));
    }
    let error = root.set_attr("balance", "much").unwrap_err();
    assert_eq!(
        error.to_string(),
        "TypeError: set_balance() argument 'value': expected int, found str"
    );
    end();
}
