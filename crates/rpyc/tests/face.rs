//! Two ends of the Rust face: a dynamic object, called every way.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpyc::{Args, Connection, Exception, Member, Method, Object, Reply, Value};

struct Calc;
impl Object for Calc {
    fn class_name(&self) -> Cow<'static, str> {
        "test.Calc".into()
    }
    fn methods(&self) -> Vec<Method> {
        vec![
            Method::documented("add", "Adds."),
            Method::new("apply"),
            Method::new("boom"),
            Method::new("later"),
        ]
    }
    fn call_method(&self, _: &Connection, name: &str, args: Args) -> Reply {
        match name {
            "add" => match args.bind("add").take_all(|p| {
                Ok((
                    p.required::<i64>("a")?,
                    p.optional::<i64>("b")?.unwrap_or(10),
                ))
            }) {
                Ok((a, b)) => (a + b).into(),
                Err(e) => Reply::raise(e),
            },
            "apply" => args.positional()[0]
                .call((20,))
                .map_err(Exception::from)
                .into(),
            "later" => {
                let f = args.positional()[0].clone();
                Reply::Later(Box::pin(
                    async move { f.call((5,)).map_err(Exception::from) },
                ))
            }
            _ => panic!("oh no"),
        }
    }
    fn attribute(&self, _: &Connection, name: &str) -> Result<Member, Exception> {
        if self.methods().iter().any(|m| m.name == name) {
            return Ok(Member::Method);
        }
        Err(Exception::no_attribute("test.Calc", name))
    }
}

#[test]
fn a_tour() {
    let (a, b) = Connection::pair(None, Some(Arc::new(Calc))).unwrap();
    let server = b.serve_in_thread().unwrap();
    let root = a.root().unwrap();
    assert_eq!(
        root.call_method("add", (1, 2))
            .unwrap()
            .extract::<i64>()
            .unwrap(),
        3
    );
    assert_eq!(
        a.root()
            .unwrap()
            .attr("add")
            .unwrap()
            .call((1,))
            .unwrap()
            .extract::<i64>()
            .unwrap(),
        11
    );
    assert_eq!(
        root.call_method("apply", (rpyc::function(|x: i64| x * 2),))
            .unwrap(),
        Value::Int(40)
    );
    assert_eq!(
        root.call_method("later", (rpyc::function(|x: i64| x * 2),))
            .unwrap(),
        Value::Int(10)
    );
    let error = root.call_method("boom", ()).unwrap_err();
    assert!(error.is("RuntimeError"), "{error}");
    let error = root.call_method("add", ("x",)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "TypeError: add() argument 'a': expected int, found str"
    );
    assert_eq!(root.dir().unwrap(), ["add", "apply", "boom", "later"]);
    drop(error);
    a.close();
    server.join().unwrap().unwrap();
}

/// Counts its calls.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Object for Counter {
    fn class_name(&self) -> Cow<'static, str> {
        "test.Counter".into()
    }
    fn methods(&self) -> Vec<Method> {
        vec![Method::new("__call__")]
    }
    fn call_method(&self, _: &Connection, _: &str, _: Args) -> Reply {
        self.0.fetch_add(1, Ordering::SeqCst);
        ().into()
    }
}

#[test]
fn calls_that_nobody_waits_for_are_made() {
    const CALLS: usize = 500;
    // What the caller does next. The last one never comes back to the connection.
    let ends: [fn(Connection); 3] = [drop, |conn| conn.close(), std::mem::forget];
    for end in ends {
        let counter = Arc::new(Counter::default());
        let (a, b) = Connection::pair(None, Some(Arc::clone(&counter) as _)).unwrap();
        let server = b.serve_in_thread().unwrap();
        let root = a.root().unwrap();
        for _ in 0..CALLS {
            root.call_async(()).detach();
        }
        drop(root);
        end(a);
        let limit = Instant::now() + Duration::from_secs(20);
        while counter.0.load(Ordering::SeqCst) < CALLS {
            assert!(Instant::now() < limit, "only {:?}", counter.0);
            std::thread::sleep(Duration::from_millis(1));
        }
        b.close();
        let _ = server.join().unwrap();
        assert_eq!(counter.0.load(Ordering::SeqCst), CALLS);
    }
}

/// Two calls whose answers have both arrived, and nobody has read them.
fn answered_calls() -> (Connection, Connection, [rpyc::AsyncResult; 2]) {
    let (client, server) = Connection::pair(None, Some(Arc::new(Calc))).unwrap();
    let serve = || assert!(server.serve(Duration::from_secs(10)).unwrap());
    let root = std::thread::scope(|scope| {
        scope.spawn(serve);
        client.root().unwrap()
    });
    let calls = [1, 2].map(|a| root.call_method_async("add", (a,)));
    serve();
    serve();
    (client, server, calls)
}

#[test]
fn answers_that_came_along_are_there_at_once() {
    let (_client, _server, [first, second]) = answered_calls();
    assert!(format!("{second:?}").contains("ready: false"));
    assert_eq!(first.wait().unwrap(), Value::Int(11));
    assert!(format!("{second:?}").contains("ready: true"));
    assert_eq!(second.wait().unwrap(), Value::Int(12));
}

#[test]
fn a_wait_that_is_over_runs_no_callback_of_another_call() {
    let (client, _server, [first, second]) = answered_calls();
    let called = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&called);
    second.on_ready(move |answer| {
        assert_eq!(answer.unwrap(), Value::Int(12));
        seen.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(first.wait().unwrap(), Value::Int(11));
    assert_eq!(called.load(Ordering::SeqCst), 0);
    assert!(client.serve(Duration::from_secs(10)).unwrap());
    assert_eq!(called.load(Ordering::SeqCst), 1);
}

/// Dropped as slowly as the other end of the channel says.
struct Lingering(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Object for Lingering {
    fn class_name(&self) -> Cow<'static, str> {
        "test.Lingering".into()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let gate = self.0.get_mut().unwrap();
        gate.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}

#[test]
fn no_answer_waits_behind_an_object_that_is_dropped_slowly() {
    let (open, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(Some(gate));
    let root = rpyc::function(move || {
        let gate = gate.lock().unwrap().take();
        gate.map_or(Value::Int(1), |gate| {
            Value::Object(Arc::new(Lingering(std::sync::Mutex::new(gate))))
        })
    });
    let Value::Object(root) = root else {
        panic!("not an object: {root:?}");
    };
    let (client, server) = Connection::pair(None, Some(root)).unwrap();
    let (root, lingering) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| while server.serve(Duration::from_millis(100)).unwrap() {});
        let root = client.root().unwrap();
        let lingering = root.call(()).unwrap();
        serving.join().unwrap();
        (root, lingering)
    });
    // The call and the release are there together when the server looks again.
    let answer = root.call_async(());
    drop(lingering);
    let serving = server.serve_in_thread().unwrap();
    let answer = answer.wait_timeout(Duration::from_secs(5));
    open.send(()).unwrap();
    assert_eq!(answer.unwrap(), Value::Int(1));
    client.close();
    serving.join().unwrap().unwrap();
}

/// Nothing of it is sent, neither as a request nor as an answer, and the connection goes on.
#[test]
fn a_message_that_no_frame_can_hold_is_refused() {
    // A gibibyte that nobody writes to, five times.
    let large = bytes::Bytes::from(vec![0; 1 << 30]);
    let many = move || Value::Tuple(vec![Value::Bytes(large.clone()); 5]);
    let (ours, theirs) = (many.clone(), many);
    let give = move |wanted: bool| if wanted { theirs() } else { Value::None };
    let Value::Object(root) = rpyc::function(give) else {
        panic!("a function is an object");
    };
    let (a, b) = Connection::pair(None, Some(root)).unwrap();
    let server = b.serve_in_thread().unwrap();
    let root = a.root().unwrap();

    let refused = root.call((ours(),)).unwrap_err();
    assert!(
        matches!(&refused, rpyc::Error::Limit(text) if text.contains("4 GiB")),
        "{refused:?}"
    );
    let refused = root.call_async((ours(),)).wait().unwrap_err();
    assert!(matches!(refused, rpyc::Error::Limit(_)), "{refused:?}");
    let refused = root.call((true,)).unwrap_err();
    assert!(refused.to_string().contains("4 GiB"), "{refused}");
    assert!(root.call((false,)).unwrap().is_none());
    a.close();
    server.join().unwrap().unwrap();
}
