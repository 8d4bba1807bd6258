//! What the macros generate: a service, its typed client, and conversions.
#![cfg(feature = "macros")]

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use rpyc::{Args, Connection, Exception, IntoValue, Netref, Object, Reply, Value};

/// Why an account refuses.
#[derive(Debug, rpyc::Error)]
enum AccountError {
    #[rpyc(class = "ValueError")]
    Negative(i64),
    #[rpyc(class = "bank.Overdrawn")]
    Overdrawn {
        #[rpyc(attribute)]
        missing: i64,
        account: &'static str,
    },
    #[rpyc(transparent)]
    Peer(rpyc::Error),
    Closed,
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative(amount) => write!(f, "{amount} is negative"),
            Self::Overdrawn { missing, account } => write!(f, "{account} lacks {missing}"),
            Self::Peer(error) => error.fmt(f),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl From<rpyc::Error> for AccountError {
    fn from(error: rpyc::Error) -> Self {
        Self::Peer(error)
    }
}

#[derive(Debug, Clone, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
struct Transfer {
    amount: i64,
    #[rpyc(name = "to")]
    target: String,
}

#[derive(Debug, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
struct Id(u32);

#[derive(Debug, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
struct Pair<T>(T, Option<T>);

#[derive(Debug, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
struct Nothing;

#[derive(Default)]
struct Account {
    balance: AtomicI64,
    entered: AtomicBool,
    log: Mutex<Vec<String>>,
}

/// An account.
///
/// It holds money.
#[rpyc::service]
impl Account {
    /// Adds to the balance.
    #[rpyc(exposed)]
    fn pay_in(
        &self,
        amount: i64,
        #[rpyc(default = "cash")] note: &str,
    ) -> Result<i64, AccountError> {
        if amount < 0 {
            return Err(AccountError::Negative(amount));
        }
        self.record(note);
        Ok(self.balance.fetch_add(amount, Ordering::SeqCst) + amount)
    }

    #[rpyc(exposed)]
    fn take_out(&self, amount: i64) -> Result<i64, AccountError> {
        let left = self.balance.load(Ordering::SeqCst) - amount;
        if left < 0 {
            return Err(AccountError::Overdrawn {
                missing: -left,
                account: "this account",
            });
        }
        self.balance.store(left, Ordering::SeqCst);
        Ok(left)
    }

    #[rpyc(exposed)]
    fn close(&self) -> Result<(), AccountError> {
        Err(AccountError::Closed)
    }

    #[rpyc(property)]
    fn balance(&self) -> i64 {
        self.balance.load(Ordering::SeqCst)
    }

    #[rpyc(setter)]
    fn set_balance(&self, value: i64) {
        self.balance.store(value, Ordering::SeqCst);
    }

    #[rpyc(property, name = "peer")]
    fn peer_name(&self, conn: &Connection) -> String {
        conn.peer_name().to_owned()
    }

    #[rpyc(exposed)]
    fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    #[rpyc(exposed)]
    fn transfer(&self, transfer: Transfer, limit: Option<i64>) -> (String, Option<i64>) {
        (format!("{} to {}", transfer.amount, transfer.target), limit)
    }

    #[rpyc(exposed)]
    fn everything(&self, first: Value, conn: &Connection, rest: Args) -> (Value, usize, String) {
        assert!(!conn.is_closed());
        let keywords = rest
            .keywords()
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"));
        let keywords = keywords.collect::<Vec<_>>().join(",");
        (first, rest.positional().len(), keywords)
    }

    #[rpyc(exposed)]
    fn sum(&self, numbers: &[i64], bytes: &[u8]) -> i64 {
        numbers.iter().sum::<i64>() + bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>()
    }

    #[rpyc(exposed)]
    fn notify(&self, callback: &Netref) -> Result<Value, AccountError> {
        Ok(callback.call(("paid",))?)
    }

    #[rpyc(exposed)]
    async fn later(&self, callback: Netref, conn: &Connection) -> Result<i64, AccountError> {
        assert!(!conn.is_closed());
        Ok(callback
            .call((self.balance(),))?
            .extract()
            .map_err(rpyc::Error::from)?)
    }

    #[rpyc(exposed)]
    fn __enter__(self: Arc<Self>) -> Arc<Self> {
        self.entered.store(true, Ordering::SeqCst);
        self
    }

    #[rpyc(exposed)]
    fn __exit__(&self, _class: Value, error: Value, _traceback: Value) -> bool {
        self.entered.store(false, Ordering::SeqCst);
        error.is_truthy()
    }

    #[rpyc(exposed)]
    fn is_same(self: &Arc<Self>, other: Arc<Self>) -> bool {
        Arc::ptr_eq(self, &other)
    }

    #[rpyc(exposed)]
    fn child(&self) -> Self {
        Self::default()
    }

    #[rpyc(exposed)]
    fn panics(&self) -> i64 {
        panic!("the vault is empty")
    }

    #[rpyc(exposed)]
    fn by_hand(&self) -> Reply {
        Reply::raise(Exception::stop_iteration())
    }

    #[rpyc(name = "from")]
    fn from_where() -> &'static str {
        "here"
    }

    #[rpyc(exposed)]
    fn __len__(&self) -> usize {
        self.log.lock().len()
    }

    #[rpyc(on_connect)]
    fn connected(&self, conn: &Connection) -> Result<(), Exception> {
        self.record(&format!("connected: {}", !conn.is_closed()));
        Ok(())
    }

    #[rpyc(on_disconnect)]
    fn disconnected(&self) {
        self.record("disconnected");
    }

    fn record(&self, text: &str) {
        self.log.lock().push(text.to_owned());
    }
}

#[rpyc::proxy]
trait AccountClient {
    /// Adds to the balance.
    fn pay_in(&self, amount: i64, #[rpyc(keyword)] note: Option<&str>) -> rpyc::Result<i64>;
    fn take_out(&self, amount: i64) -> rpyc::Result<i64>;
    #[rpyc(property)]
    fn balance(&self) -> rpyc::Result<i64>;
    #[rpyc(setter)]
    fn set_balance(&self, value: i64) -> rpyc::Result<()>;
    #[rpyc(name = "log")]
    fn lines(&self) -> rpyc::Result<Vec<String>>;
    fn transfer(
        &self,
        transfer: Transfer,
        limit: Option<i64>,
    ) -> rpyc::Result<(String, Option<i64>)>;
    fn everything(&self, first: i64, rest: Args) -> rpyc::Result<(Value, usize, String)>;
    fn child(&self) -> rpyc::Result<AccountClientProxy>;

    fn twice(&self, amount: i64) -> rpyc::Result<i64> {
        self.pay_in(amount, None)?;
        self.pay_in(amount, None)
    }
}

/// A client of an account, and what ends both.
fn connect() -> (Arc<Account>, Connection, impl FnOnce()) {
    let account = Arc::new(Account::default());
    let root: Arc<dyn Object> = account.clone();
    let (here, there) = Connection::pair(None, Some(root)).unwrap();
    let server = there.serve_in_thread().unwrap();
    let conn = here.clone();
    let end = move || {
        conn.close();
        server.join().unwrap().unwrap();
    };
    (account, here, end)
}

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

#[test]
fn only_what_is_marked_is_there() {
    let (_, conn, end) = connect();
    let root = conn.root().unwrap();
    assert_eq!(root.class_name(), "macros.Account");
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
    assert_eq!(error.to_string(), "macros.AccountError: closed");
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

#[test]
fn a_typed_proxy_asks_the_peer() {
    let (_, conn, end) = connect();
    let account: AccountClientProxy = conn.root_as().unwrap();
    assert_eq!(account.pay_in(5, None).unwrap(), 5);
    assert_eq!(account.pay_in(5, Some("gift")).unwrap(), 10);
    assert_eq!(account.twice(1).unwrap(), 12);
    account.set_balance(100).unwrap();
    assert_eq!(account.balance().unwrap(), 100);
    assert_eq!(
        account.lines().unwrap(),
        ["connected: true", "cash", "gift", "cash", "cash"]
    );
    assert!(account.take_out(1000).unwrap_err().is("bank.Overdrawn"));
    let transfer = Transfer {
        amount: 1,
        target: "you".to_owned(),
    };
    assert_eq!(
        account.transfer(transfer, Some(2)).unwrap(),
        ("1 to you".to_owned(), Some(2))
    );
    let rest = Args::new((2, 3)).keyword("k", true);
    assert_eq!(
        account.everything(1, rest).unwrap(),
        (Value::Int(1), 2, "k=True".to_owned())
    );
    let child = account.child().unwrap();
    assert_eq!(child.balance().unwrap(), 0);
    assert_ne!(child, account);
    end();
}

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
