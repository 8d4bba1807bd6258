//! `#[rpyc::proxy]`: a trait that is a typed client.

use rpyc::{Args, Value};

use crate::account::{Transfer, connect};

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
