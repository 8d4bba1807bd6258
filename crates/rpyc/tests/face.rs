//! Two ends of the Rust face: a dynamic object, called every way.

use std::borrow::Cow;
use std::sync::Arc;

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
