//! Methods that are compiled, and those that are not: of services, and of typed proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rpyc::{Connection, Netref, Object};

#[derive(Default)]
struct Machine {
    speed: AtomicI64,
    greeted: AtomicI64,
}

/// What is `not(test)` here could not be compiled: the types don't exist.
#[rpyc::service]
impl Machine {
    /// Is there.
    #[cfg(test)]
    #[rpyc(exposed)]
    fn present(&self) -> i64 {
        1
    }

    #[rpyc(exposed)]
    #[cfg(not(test))]
    fn absent(&self, part: Part) -> Whole {
        part.into()
    }

    #[cfg(test)]
    #[cfg(not(test))]
    #[rpyc(exposed)]
    async fn absent_later(self: Arc<Self>, part: Part) -> Whole {
        part.into()
    }

    #[cfg(test)]
    #[rpyc(exposed)]
    fn kind(&self) -> &'static str {
        "tested"
    }

    #[cfg(not(test))]
    #[rpyc(exposed)]
    fn kind(&self) -> Kind {
        Kind::new()
    }

    #[cfg(test)]
    #[rpyc(exposed)]
    fn itself(self: Arc<Self>) -> Arc<Self> {
        self
    }

    #[cfg(not(test))]
    #[rpyc(exposed, name = "itself")]
    fn someone_else(self: Arc<Self>) -> Whole {
        Whole::new()
    }

    #[rpyc(property)]
    fn speed(&self) -> i64 {
        self.speed.load(Ordering::SeqCst)
    }

    #[cfg(not(test))]
    #[rpyc(setter)]
    fn set_speed(&self, speed: Speed) {
        self.speed.store(speed, Ordering::SeqCst);
    }

    #[cfg(not(test))]
    #[rpyc(property)]
    fn weight(&self) -> Weight {
        Weight::new()
    }

    #[cfg(not(test))]
    #[rpyc(setter)]
    fn set_weight(&self, weight: Weight) {}

    #[cfg(test)]
    #[rpyc(on_connect)]
    fn greet(&self) {
        self.greeted.fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(not(test))]
    #[rpyc(on_connect)]
    fn greet_otherwise(&self) {
        Whole::greet();
    }

    /// One line.
    #[cfg_attr(test, rpyc(exposed), doc = "Another line.")]
    #[cfg_attr(not(test), rpyc(exposed), doc = "No line.")]
    fn documented(&self, #[rpyc(default = 2)] x: i64) -> i64 {
        x
    }

    #[cfg_attr(test, rpyc(name = "renamed"))]
    #[rpyc(exposed)]
    fn named(&self) -> i64 {
        3
    }

    #[cfg_attr(not(test), rpyc(exposed))]
    fn private(&self) -> i64 {
        4
    }
}

#[rpyc::proxy]
trait MachineClient {
    #[cfg(test)]
    fn present(&self) -> rpyc::Result<i64>;

    #[cfg(not(test))]
    fn absent(&self, part: Part) -> rpyc::Result<Whole>;

    #[cfg(not(test))]
    fn kind(&self) -> rpyc::Result<Kind>;

    #[cfg(test)]
    fn kind(&self) -> rpyc::Result<String>;

    #[cfg_attr(test, rpyc(name = "renamed"))]
    #[cfg_attr(not(test), rpyc(property))]
    fn named(&self) -> rpyc::Result<i64>;

    #[rpyc(property)]
    fn speed(&self) -> rpyc::Result<i64>;

    #[cfg(not(test))]
    #[rpyc(setter)]
    fn set_speed(&self, speed: Speed) -> rpyc::Result<()>;
}

/// A service of which nothing is left.
struct Bare;

#[rpyc::service]
impl Bare {
    #[cfg(not(test))]
    #[rpyc(exposed)]
    fn absent(&self) -> Whole {
        Whole::new()
    }
}

fn serve(root: Arc<dyn Object>, test: impl FnOnce(&Connection, &Netref)) {
    let (here, there) = Connection::pair(None, Some(root)).unwrap();
    let serving = there.serve_in_thread().unwrap();
    test(&here, &here.root().unwrap());
    here.close();
    serving.join().unwrap().unwrap();
}

#[test]
fn what_is_not_compiled_is_not_listed() {
    let machine = Machine::default();
    let listed: Vec<_> = machine.methods().into_iter().collect();
    let names: Vec<_> = listed.iter().map(|method| method.name.as_ref()).collect();
    assert_eq!(
        names,
        ["present", "kind", "itself", "documented", "renamed"]
    );
    assert_eq!(machine.properties(), ["speed"]);
    let documented = &listed[3];
    assert_eq!(documented.doc.as_deref(), Some("One line.\nAnother line."));
    assert_eq!(machine.private(), 4);
    assert!(Bare.methods().is_empty() && Bare.properties().is_empty());
}

#[test]
fn what_is_not_compiled_is_not_reached() {
    let machine = Arc::new(Machine::default());
    serve(Arc::clone(&machine) as _, |_, root| {
        for name in ["absent", "absent_later", "weight", "named", "private"] {
            let error = root.attr(name).unwrap_err();
            assert!(error.is("AttributeError"), "{name}: {error}");
            let error = root.call_method(name, ()).unwrap_err();
            assert!(error.is("AttributeError"), "{name}: {error}");
        }
        assert!(root.set_attr("speed", 1).is_err());
        assert!(root.set_attr("weight", 1).is_err());
        let call = |name| root.call_method(name, ()).unwrap();
        assert_eq!(call("present"), 1_i64.into());
        assert_eq!(call("kind").extract::<String>().unwrap(), "tested");
        assert_eq!(call("documented").extract::<i64>().unwrap(), 2);
        assert_eq!(call("renamed").extract::<i64>().unwrap(), 3);
        let itself: Netref = call("itself").extract().unwrap();
        assert_eq!(&itself, root);
    });
    assert_eq!(machine.greeted.load(Ordering::SeqCst), 1);
    serve(Arc::new(Bare), |_, root| {
        assert!(root.call_method("absent", ()).is_err());
    });
}

#[test]
fn a_typed_proxy_has_what_is_compiled() {
    serve(Arc::new(Machine::default()), |conn, _| {
        let machine: MachineClientProxy = conn.root_as().unwrap();
        assert_eq!(machine.present().unwrap(), 1);
        assert_eq!(machine.kind().unwrap(), "tested");
        assert_eq!(machine.named().unwrap(), 3);
        assert_eq!(machine.speed().unwrap(), 0);
    });
}
