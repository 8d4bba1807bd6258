//! A Rust program that checks what a Python service gives it: `rust_client HOST:PORT` plays through
//! all of python_lab.py and prints `done`. A check that fails is a panic.
//!
//! `rust_client HOST:PORT hostile` asks a server that answers with garbage, and prints the error.
#![expect(clippy::print_stdout, reason = "the test reads it")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use num_bigint::BigInt;
use rpyc::{
    Args, Comparison, Config, Connection, Connector, ContextManager, Error, Exception, IntoValue,
    Iter, Netref, Operator, Result, Slice, Unary, Value,
};

/// An object of this program that Python uses.
struct Thing;

/// A thing.
#[rpyc::service(name = "rust.Thing")]
impl Thing {
    #[rpyc(property)]
    fn factor(&self) -> i64 {
        3
    }

    /// Scales.
    #[rpyc(exposed)]
    fn scaled(&self, value: i64) -> i64 {
        3 * value
    }

    #[rpyc(exposed)]
    fn __len__(&self) -> usize {
        2
    }

    #[rpyc(exposed)]
    fn __getitem__(&self, index: i64) -> std::result::Result<i64, Exception> {
        match index {
            0 | 1 => Ok(5 + index),
            _ => Err(Exception::new("IndexError", "thing index out of range")),
        }
    }

    #[rpyc(exposed)]
    fn __contains__(&self, value: i64) -> bool {
        value == 5
    }

    #[rpyc(exposed)]
    fn __iter__(&self) -> Arc<Iter> {
        Iter::new([5, 6])
    }
}

#[derive(Debug, PartialEq, rpyc::FromValue)]
struct Stock {
    salt: i64,
    sugar: i64,
}

#[rpyc::proxy]
trait Lab {
    fn mix(
        &self,
        a: i64,
        #[rpyc(keyword)] b: Option<i64>,
        more: Args,
    ) -> Result<(i64, usize, Vec<String>)>;
    fn reagent(&self, amount: i64) -> Result<ReagentProxy>;
    #[rpyc(name = "fail")]
    fn failing(&self, text: &str) -> Result<()>;
    #[rpyc(property)]
    fn shelf(&self) -> Result<Vec<i64>>;
}

#[rpyc::proxy]
trait Reagent {
    #[rpyc(property)]
    fn amount(&self) -> Result<i64>;
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("an address");
    if arguments.next().is_some() {
        let config = Config::default().timeout(Duration::from_secs(5));
        let conn = Connector::new(&address)
            .unwrap()
            .config(config)
            .connect()
            .unwrap();
        println!("{}", conn.root().unwrap_err());
        return;
    }
    let conn = rpyc::connect(&address).unwrap();
    let lab = conn.root().unwrap();
    values(&lab);
    calls(&lab, &conn);
    attributes_and_operators(&lab);
    containers(&lab);
    callbacks(&lab);
    errors(&lab);
    asynchronous(&lab);
    releases(&conn, &lab);
    let error = lab.call_method("exit", ()).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost(_)), "{error}");
    println!("done");
}

/// Each kind of value comes back as it went, and Python sees the right type.
fn values(lab: &Netref) {
    let big: BigInt = BigInt::from(7).pow(100);
    let kinds = [
        (Value::None, "NoneType None"),
        (true.into_value(), "bool True"),
        ((-5).into_value(), "int -5"),
        (i64::MIN.into_value(), "int -9223372036854775808"),
        (u64::MAX.into_value(), "int 18446744073709551615"),
        (1.5.into_value(), "float 1.5"),
        (Value::Complex(1.0, -2.0), "complex (1-2j)"),
        ("grün".into_value(), "str 'grün'"),
        (Bytes::from_static(b"\0a").into_value(), r"bytes b'\x00a'"),
        ((1, "x").into_value(), "tuple (1, 'x')"),
        (Value::Ellipsis, "ellipsis Ellipsis"),
        (
            Value::FrozenSet(vec![Value::Int(4)]),
            "frozenset frozenset({4})",
        ),
        ((1..5).into_value(), "slice slice(1, 5, None)"),
    ];
    for (value, kind) in kinds {
        assert_eq!(
            lab.call_method("kind", (&value,)).unwrap(),
            Value::from(kind)
        );
        assert_eq!(lab.call_method("echo", (&value,)).unwrap(), value);
    }
    assert_eq!(
        lab.call_method("echo", (big.clone(),))
            .unwrap()
            .extract::<BigInt>()
            .unwrap(),
        big
    );
    let megabyte: Bytes = (0..1 << 20).map(|n: u32| n as u8).collect();
    let echo: Bytes = lab
        .call_method("echo", (megabyte.clone(),))
        .unwrap()
        .extract()
        .unwrap();
    assert!(echo == megabyte);
    // An object comes back as itself.
    let thing = Arc::new(Thing);
    let echo: Arc<Thing> = lab
        .call_method("echo", (Arc::clone(&thing),))
        .unwrap()
        .extract()
        .unwrap();
    assert!(Arc::ptr_eq(&echo, &thing));
}

fn calls(lab: &Netref, conn: &Connection) {
    let mix = lab.attr("mix").unwrap();
    let mixed: (i64, usize, Vec<String>) = mix.call((1, 2, 3, 4)).unwrap().extract().unwrap();
    assert_eq!(mixed, (3, 2, vec![]));
    assert_eq!(
        mix.as_netref().unwrap().doc().unwrap().as_deref(),
        Some("Mixes.")
    );
    let lab: LabProxy = conn.root_as().unwrap();
    assert_eq!(lab.mix(1, None, Args::default()).unwrap().0, 11);
    let more = Args::default().keyword("z", 1).keyword("y", 2);
    assert_eq!(
        lab.mix(1, Some(5), more).unwrap(),
        (6, 0, vec!["y".to_owned(), "z".to_owned()])
    );
    assert_eq!(lab.reagent(4).unwrap().amount().unwrap(), 4);
    assert_eq!(lab.shelf().unwrap(), [1, 2, 3]);
    assert!(lab.failing("x").unwrap_err().is("KeyError"));
}

fn attributes_and_operators(lab: &Netref) {
    let reagent: Netref = lab.call_method("reagent", (7,)).unwrap().extract().unwrap();
    assert_eq!(reagent.attr("amount").unwrap(), Value::Int(7));
    assert_eq!(reagent.repr().unwrap(), "Reagent(7)");
    assert_eq!(reagent.str().unwrap(), "Reagent(7)");
    assert_eq!(reagent.hash().unwrap(), 1007);
    assert!(
        reagent.class_name().ends_with(".Reagent"),
        "{}",
        reagent.class_name()
    );
    assert!(
        reagent
            .dir()
            .unwrap()
            .contains(&"exposed_amount".to_owned())
    );
    assert!(reagent.compare(Comparison::Eq, 7).unwrap());
    assert!(reagent.compare(Comparison::Lt, 8).unwrap());
    assert!(!reagent.compare(Comparison::Lt, 7).unwrap());
    assert_eq!(reagent.operate(Operator::Add, 3).unwrap(), Value::Int(10));
    assert_eq!(reagent.apply(Unary::Neg).unwrap(), Value::Int(-7));
    assert!(reagent.is_truthy().unwrap());
    let class: Netref = lab
        .call_method("reagent_class", ())
        .unwrap()
        .extract()
        .unwrap();
    assert!(reagent.is_instance(&class).unwrap());
    assert!(!lab.is_instance(&class).unwrap());
    let error = reagent.set_attr("amount", 1).unwrap_err();
    assert!(error.is("AttributeError"), "{error}");

    let used = reagent.with(|value| -> Result<String> { Ok(value.extract()?) });
    assert_eq!(used.unwrap(), "using 7");
    assert_eq!(reagent.attr("amount").unwrap(), Value::Int(-1));
    let failed = reagent.with(|_| -> Result<()> { Err(Exception::new("ValueError", "no").into()) });
    assert!(failed.unwrap_err().is("ValueError"));
    assert_eq!(reagent.attr("amount").unwrap(), Value::Int(-2));
}

fn containers(lab: &Netref) {
    let shelf: Netref = lab.attr("shelf").unwrap().extract().unwrap();
    assert_eq!(shelf.class_name(), "builtins.list");
    assert_eq!(shelf.len().unwrap(), 3);
    assert_eq!(shelf.item(-1).unwrap(), Value::Int(3));
    shelf.set_item(0, 9).unwrap();
    assert!(shelf.contains(9).unwrap());
    shelf.set_item(2, 4).unwrap();
    shelf.del_item(1).unwrap();
    assert_eq!(shelf.items::<i64>().unwrap(), [9, 4]);
    let part: Vec<i64> = shelf.item(1..).unwrap().extract().unwrap();
    assert_eq!(part, [4]);
    let step = Slice {
        step: Value::Int(-1),
        ..Slice::default()
    };
    assert_eq!(
        shelf.item(step).unwrap().extract::<Vec<i64>>().unwrap(),
        [4, 9]
    );
    assert!(shelf.item(99).unwrap_err().is("LookupError"));

    let stock = lab.call_method("stock", ()).unwrap();
    let map: HashMap<String, i64> = stock.clone().extract().unwrap();
    assert_eq!(
        map,
        HashMap::from([("salt".to_owned(), 3), ("sugar".to_owned(), 5)])
    );
    assert_eq!(
        stock.extract::<Stock>().unwrap(),
        Stock { salt: 3, sugar: 5 }
    );

    let numbers = lab.call_method("count", (300,)).unwrap();
    let numbers = numbers.as_netref().unwrap();
    let first: Vec<i64> = numbers
        .iter()
        .unwrap()
        .take(2)
        .map(|item| item.unwrap().extract().unwrap())
        .collect();
    assert_eq!(first, [0, 1]);
    assert_eq!(
        numbers.items::<i64>().unwrap(),
        (2..300).collect::<Vec<_>>()
    );
}

fn callbacks(lab: &Netref) {
    let sum = Arc::new(AtomicI64::new(0));
    let counter = Arc::clone(&sum);
    let add = rpyc::function(move |conn: &Connection, item: i64| {
        assert!(!conn.is_closed());
        counter.fetch_add(item, Ordering::SeqCst) + item
    });
    let sums: Vec<i64> = lab
        .call_method("each", (Iter::new(1..=3), add))
        .unwrap()
        .extract()
        .unwrap();
    assert_eq!(sums, [1, 3, 6]);
    let used = lab.call_method("use", (Arc::new(Thing),)).unwrap();
    let used: Vec<Value> = used.extract().unwrap();
    assert_eq!(used[..2], [Value::Int(2), Value::Int(6)]);
    assert_eq!(used[2].clone().extract::<Vec<i64>>().unwrap(), [5, 6]);
    assert_eq!(
        used[3..6],
        [Value::Int(3), Value::Int(12), Value::Bool(true)]
    );
    assert_eq!(used[6], Value::from("<rust.Thing object>"));

    let left = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&left);
    let manager = ContextManager::new(
        || "tongs",
        move |failed| raised.store(failed, Ordering::SeqCst),
    );
    assert_eq!(
        lab.call_method("within", (&manager, false)).unwrap(),
        Value::from("with tongs")
    );
    assert!(!left.load(Ordering::SeqCst));
    assert!(
        lab.call_method("within", (manager, true))
            .unwrap_err()
            .is("LookupError")
    );
    assert!(left.load(Ordering::SeqCst));

    let refuse = rpyc::function(|| Err::<(), _>(Exception::new("ValueError", "too hot")));
    assert_eq!(
        lab.call_method("caught", (refuse,)).unwrap(),
        Value::from("ValueError: too hot")
    );
    let panic = rpyc::function(|| -> i64 { panic!("as asked") });
    assert_eq!(
        lab.call_method("caught", (panic,)).unwrap(),
        Value::from("builtins.RuntimeError")
    );
    let strict = rpyc::function(|_: i64| ());
    assert_eq!(
        lab.call_method("caught", (strict,)).unwrap(),
        Value::from("builtins.TypeError")
    );
}

fn errors(lab: &Netref) {
    let error = lab.call_method("fail", ("lost",)).unwrap_err();
    let exception = error.exception().unwrap();
    assert_eq!(exception.class(), "KeyError");
    assert_eq!(exception.args(), [Value::from("lost")]);
    assert!(error.is("LookupError") && !error.is("ValueError"));
    let traceback = exception.traceback().unwrap();
    assert!(
        traceback.contains("exposed_fail") && traceback.contains("python_lab.py"),
        "{traceback}"
    );
    assert!(lab.attr("_conn").unwrap_err().is("AttributeError"));
    assert!(lab.call_method("mix", ()).unwrap_err().is("TypeError"));
    let error = lab
        .call_method("kind", (1,))
        .unwrap()
        .extract::<i64>()
        .unwrap_err();
    assert_eq!(error.to_string(), "expected int, found str");
}

fn asynchronous(lab: &Netref) {
    let results: Vec<_> = (0..50)
        .map(|n: i64| lab.call_method_async("echo", (n,)))
        .collect();
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result.wait().unwrap().extract::<usize>().unwrap(), n);
    }
    lab.call_method_async("echo", (1,)).detach();
}

/// Neither end keeps what nobody uses.
fn releases(conn: &Connection, lab: &Netref) {
    conn.ping().unwrap();
    let before = (conn.exported(), conn.proxied());
    for n in 0..50 {
        let reagent = lab.call_method("reagent", (n,)).unwrap();
        let callback = rpyc::function(move |item: Value| item);
        lab.call_method("each", ((1, 2), callback)).unwrap();
        drop(reagent);
    }
    // The peer gives back what it has collected with what it sends next.
    let back_to_baseline = (0..200).any(|_| {
        conn.ping().unwrap();
        std::thread::sleep(Duration::from_millis(5));
        conn.exported() <= before.0 && conn.proxied() <= before.1
    });
    let after = (conn.exported(), conn.proxied());
    assert!(back_to_baseline, "{before:?}, then {after:?}");
}
