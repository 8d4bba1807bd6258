//! What the tests are about: an account, with one of everything that the macros understand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use rpyc::{Args, Connection, Exception, Netref, Object, Reply, Value};

/// Some money.
#[derive(Default)]
pub(crate) struct Account {
    balance: AtomicI64,
    pub(crate) entered: AtomicBool,
    pub(crate) log: Mutex<Vec<String>>,
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

/// Why an account refuses.
#[derive(Debug, rpyc::Error)]
pub(crate) enum AccountError {
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

/// Money on its way.
#[derive(Debug, Clone, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
pub(crate) struct Transfer {
    pub(crate) amount: i64,
    #[rpyc(name = "to")]
    pub(crate) target: String,
}

/// A client of an account, and what ends both.
pub(crate) fn connect() -> (Arc<Account>, Connection, impl FnOnce()) {
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
