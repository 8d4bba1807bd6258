//! What the handlers do with objects.

use std::sync::Arc;
use std::time::Duration;

use rpyc_proto::exports::Released;
use rpyc_proto::features::Feature;
use rpyc_proto::model::{ObjectModel, Operations};
use rpyc_proto::wire::Writer;

use super::model::{Model, Stop};
use crate::args::Args;
use crate::brine;
use crate::convert::{FromValue, IntoValue};
use crate::error::{Error, Exception};
use crate::link::EndCause;
use crate::object::{BoundMethod, Member, Method, Object, Reply, identity};
use crate::value::{Slice, Value};

/// Names that start with this reach the attribute without it: services of RPyC are written and
/// called either way.
const EXPOSED: &str = "exposed_";

/// The most items that one request can fetch.
const MAX_CHUNK: i64 = 1_000_000;

/// What this side can do beyond RPyC's protocol.
const FEATURES: &[Feature] = &[Feature::Cancel, Feature::Heartbeat];

impl Model<'_> {
    /// Looks an attribute up, under its name or the one without the prefix.
    fn member<'n>(
        &self,
        object: &Arc<dyn Object>,
        name: &'n str,
    ) -> Result<(Member, &'n str), Exception> {
        let conn = self.connection();
        let error = match object.attribute(conn, name) {
            Ok(member) => return Ok((member, name)),
            Err(error) => error,
        };
        if name == "__doc__" {
            let doc = object.doc().map(std::borrow::Cow::into_owned);
            return Ok((Member::Value(doc.map_or(Value::None, Value::Str)), name));
        }
        if let Some(bare) = name.strip_prefix(EXPOSED)
            && let Ok(member) = object.attribute(conn, bare)
        {
            return Ok((member, bare));
        }
        Err(error)
    }

    fn call_member(&self, object: &Arc<dyn Object>, name: &str, args: Args) -> Result<Value, Stop> {
        match self.member(object, name)? {
            (Member::Method, name) => {
                settle(Arc::clone(object).call_shared(self.connection(), name, args))
            }
            (Member::Value(Value::Object(callable)), _) => {
                settle(callable.call_shared(self.connection(), "__call__", args))
            }
            (Member::Value(Value::Netref(callable)), _) => Ok(callable.call(args)?),
            (Member::Value(other), _) => Err(not_callable(&other).into()),
        }
    }

    /// A call of a special method from another operation.
    fn special(&self, object: &Arc<dyn Object>, name: &str, args: Args) -> Result<Value, Stop> {
        self.call_member(object, name, args)
    }

    fn has_method(object: &Arc<dyn Object>, name: &str) -> bool {
        object.methods().iter().any(|method| method.name == name)
    }

    fn take_args(&mut self, args: Value, kwargs: Option<Value>) -> Result<Args, Stop> {
        let positional = match args {
            Value::Tuple(items) => items,
            other => self.iterate(other)?,
        };
        let keywords = match kwargs {
            None => Vec::new(),
            Some(Value::Tuple(pairs)) if pairs.is_empty() => Vec::new(),
            Some(pairs) => <Vec<(String, Value)>>::from_value(pairs)
                .map_err(|error| Exception::type_error(format!("keyword arguments: {error}")))?,
        };
        Ok(Args::from_parts(positional, keywords))
    }
}

/// What a peer is told about the methods of an object: pairs of name and doc.
pub(super) fn told_of(methods: Vec<Method>) -> Value {
    let pair = |method: Method| {
        let doc = method.doc.map(|doc| Value::Str(doc.into_owned()));
        Value::Tuple(vec![
            Value::Str(method.name.into_owned()),
            doc.unwrap_or_default(),
        ])
    };
    Value::Tuple(methods.into_iter().map(pair).collect())
}

impl Operations for Model<'_> {
    fn unknown_handler(&mut self, handler: Value) -> Stop {
        Exception::with_args("KeyError", vec![handler]).into()
    }

    fn root(&mut self) -> Result<Value, Stop> {
        Ok(Value::Object(Arc::clone(&self.peer.root)))
    }

    fn close(&mut self) -> Result<Value, Stop> {
        self.peer.finish(EndCause::PeerClosed);
        Ok(Value::None)
    }

    fn getattr(&mut self, object: Value, name: Value) -> Result<Value, Stop> {
        let name = name_of(name)?;
        let object = match object {
            Value::Object(object) => object,
            Value::Netref(netref) => return Ok(netref.attr(&name)?),
            other => return Err(Exception::no_attribute(other.kind(), &name).into()),
        };
        Ok(match self.member(&object, &name)? {
            (Member::Value(value), _) => value,
            (Member::Method, name) => {
                let name = name.to_owned();
                Value::Object(Arc::new(BoundMethod::new(object, &name)))
            }
        })
    }

    fn delattr(&mut self, object: Value, name: Value) -> Result<Value, Stop> {
        let name = name_of(name)?;
        match object {
            Value::Netref(netref) => netref.del_attr(&name)?,
            other => {
                let object = object_of(other, "delete an attribute of")?;
                let name = name.strip_prefix(EXPOSED).unwrap_or(&name);
                object.delete_attribute(self.connection(), name)?;
            }
        }
        Ok(Value::None)
    }

    fn setattr(&mut self, object: Value, name: Value, value: Value) -> Result<Value, Stop> {
        let name = name_of(name)?;
        match object {
            Value::Netref(netref) => netref.set_attr(&name, value)?,
            other => {
                let object = object_of(other, "set an attribute of")?;
                let name = name.strip_prefix(EXPOSED).unwrap_or(&name);
                object.set_attribute(self.connection(), name, value)?;
            }
        }
        Ok(Value::None)
    }

    fn call(&mut self, object: Value, args: Value, kwargs: Option<Value>) -> Result<Value, Stop> {
        let args = self.take_args(args, kwargs)?;
        match object {
            Value::Object(object) => {
                settle(object.call_shared(self.connection(), "__call__", args))
            }
            Value::Netref(netref) => Ok(netref.call(args)?),
            other => Err(not_callable(&other).into()),
        }
    }

    fn call_attr(
        &mut self,
        object: Value,
        name: Value,
        args: Value,
        kwargs: Option<Value>,
    ) -> Result<Value, Stop> {
        let name = name_of(name)?;
        let args = self.take_args(args, kwargs)?;
        match object {
            Value::Object(object) => self.call_member(&object, &name, args),
            Value::Netref(netref) => Ok(netref.call_method(&name, args)?),
            other => Err(Exception::no_attribute(other.kind(), &name).into()),
        }
    }

    fn repr(&mut self, object: Value) -> Result<Value, Stop> {
        Ok(Value::Str(match object {
            Value::Object(object) => object.repr()?,
            Value::Netref(netref) => netref.repr()?,
            other => format!("{other:?}"),
        }))
    }

    fn str(&mut self, object: Value) -> Result<Value, Stop> {
        Ok(Value::Str(match object {
            Value::Object(object) => object.str()?,
            Value::Netref(netref) => netref.str()?,
            Value::Str(text) => text,
            other => format!("{other:?}"),
        }))
    }

    /// An object compares as its methods say; without them it equals itself.
    fn cmp(&mut self, object: Value, other: Value, op: Option<Value>) -> Result<Value, Stop> {
        let op = name_of(op.unwrap_or_else(|| Value::Str("__eq__".to_owned())))?;
        if !matches!(
            op.as_str(),
            "__lt__" | "__le__" | "__eq__" | "__ne__" | "__gt__" | "__ge__"
        ) {
            return Err(Exception::no_attribute(object.kind(), &op).into());
        }
        if let Value::Object(object) = &object
            && Self::has_method(object, &op)
        {
            return self.special(object, &op, Args::new(vec![other]));
        }
        Ok(match op.as_str() {
            "__eq__" if object == other => Value::Bool(true),
            "__ne__" if object == other => Value::Bool(false),
            _ => Value::NotImplemented,
        })
    }

    fn hash(&mut self, object: Value) -> Result<Value, Stop> {
        if let Value::Netref(netref) = &object {
            return Ok(Value::Int(netref.hash()?));
        }
        let object = object_of(object, "hash")?;
        if Self::has_method(&object, "__hash__") {
            return self.special(&object, "__hash__", Args::default());
        }
        // Addresses are multiples of 16.
        Ok(Value::Int((identity(&object) >> 4).cast_signed() as i64))
    }

    fn dir(&mut self, object: Value) -> Result<Value, Stop> {
        if let Value::Netref(netref) = &object {
            return Ok(netref.dir()?.into_value());
        }
        let object = object_of(object, "list the attributes of")?;
        let methods = object.methods().into_iter().map(|method| method.name);
        let mut names: Vec<_> = methods.chain(object.properties()).collect();
        names.sort_unstable();
        names.dedup();
        let names = names.into_iter().map(|name| Value::Str(name.into_owned()));
        Ok(Value::Tuple(names.collect()))
    }

    fn pickle(&mut self, _object: Value, _protocol: Value) -> Result<Value, Stop> {
        Err(Exception::new(
            "ValueError",
            "pickling is disabled: the object is no Python object",
        )
        .into())
    }

    fn release(&mut self, object: Value, count: Option<Value>) -> Result<Value, Stop> {
        let count = count
            .map_or(Ok(1), Value::extract::<i64>)
            .map_err(Error::from)?;
        let identity = match &object {
            Value::Netref(netref) => netref.identity(),
            other => identity(&object_of(other.clone(), "release")?),
        };
        let released = {
            let mut table = self.peer.exports.lock();
            let id = table.id_of(identity).cloned();
            id.map(|id| table.release(id.as_bytes(), count))
        };
        match released {
            Some(Released::Kept | Released::Gone(_)) => Ok(Value::None),
            Some(Released::Unknown) | None => {
                Err(Exception::new("KeyError", "the peer holds no reference to it").into())
            }
        }
    }

    fn inspect(&mut self, id_pack: Value) -> Result<Value, Stop> {
        let mut out = Writer::new();
        brine::write(&id_pack, &mut out)?;
        let encoded = out.into_payload().to_vec();
        let object = {
            let table = self.peer.exports.lock();
            table.get(&encoded).map(|entry| entry.object.clone())
        };
        let object = match object {
            Some(Value::Object(object)) => object,
            Some(Value::Netref(netref)) => return Ok(netref.methods()?.into_value()),
            _ => return Err(Exception::with_args("KeyError", vec![id_pack]).into()),
        };
        Ok(told_of(object.methods()))
    }

    fn buffiter(&mut self, object: Value, count: Value) -> Result<Value, Stop> {
        let count: i64 = count.extract().map_err(Error::from)?;
        if count > MAX_CHUNK {
            let text = format!("{count} items at once are more than the allowed {MAX_CHUNK}");
            return Err(Exception::new("ValueError", text).into());
        }
        if let Value::Netref(netref) = object {
            let items: Result<Vec<Value>, Error> = netref
                .iter()?
                .chunked(count)
                .take(usize::try_from(count).unwrap_or(0))
                .collect();
            return Ok(Value::Tuple(items?));
        }
        let mut object = object_of(object, "iterate over")?;
        if !Self::has_method(&object, "__next__") {
            let iterator = self.special(&object, "__iter__", Args::default())?;
            object = object_of(iterator, "iterate over")?;
        }
        let mut items = Vec::new();
        for _ in 0..count {
            match self.special(&object, "__next__", Args::default()) {
                Ok(item) => items.push(item),
                Err(Stop::Error(error)) if error.is("StopIteration") => break,
                Err(stop) => return Err(stop),
            }
        }
        Ok(Value::Tuple(items))
    }

    fn oldslicing(&mut self, args: Vec<Value>) -> Result<Value, Stop> {
        let Ok([object, attempt, fallback, start, stop, rest]) = <[Value; 6]>::try_from(args)
        else {
            return Err(Exception::type_error("slicing takes six arguments").into());
        };
        let object = object_of(object, "slice")?;
        let rest = self.iterate(rest)?;
        let attempt = name_of(attempt)?;
        if Self::has_method(&object, &attempt) {
            let slice = Slice {
                start,
                stop,
                step: Value::None,
            };
            let mut args = vec![Value::Slice(Box::new(slice))];
            args.extend(rest);
            return self.special(&object, &attempt, Args::new(args));
        }
        let mut args = vec![start, stop];
        args.extend(rest);
        self.special(&object, &name_of(fallback)?, Args::new(args))
    }

    fn ctxexit(&mut self, object: Value, exc: Value) -> Result<Value, Stop> {
        let class = match &exc {
            Value::Netref(netref) => netref.attr("__class__").unwrap_or(Value::Bool(true)),
            other => other.clone(),
        };
        let args = if exc.is_truthy() {
            vec![class, exc, Value::None]
        } else {
            vec![Value::None; 3]
        };
        match object {
            Value::Netref(netref) => Ok(netref.call_method("__exit__", args)?),
            other => {
                let object = object_of(other, "leave")?;
                self.special(&object, "__exit__", Args::new(args))
            }
        }
    }

    fn features(&mut self) -> Result<Value, Stop> {
        let name = |feature: &Feature| Value::Str(feature.name().to_owned());
        Ok(Value::Tuple(FEATURES.iter().map(name).collect()))
    }

    fn cancel(&mut self, number: Value) -> Result<Value, Stop> {
        // Numbers that mean nothing are ignored.
        if let Ok(number) = number.extract::<u64>() {
            self.peer.note_cancelled(number);
        }
        Ok(Value::None)
    }

    fn heartbeat(&mut self, seconds: Value) -> Result<Value, Stop> {
        let asked = seconds.clone().extract::<f64>().ok();
        let asked = asked.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let Some(asked) = asked else {
            let text = format!("a heartbeat is asked for by a number of seconds, not {seconds:?}");
            return Err(Exception::new("ValueError", text).into());
        };
        let interval = Duration::try_from_secs_f64(asked).unwrap_or(Duration::MAX);
        self.peer.beat(interval);
        Ok(Value::None)
    }

    /// Objects of Rust are no classes.
    fn instancecheck(&mut self, class: Value, _id_pack: Value) -> Result<Value, Stop> {
        object_of(class, "check instances of")?;
        Ok(Value::Bool(false))
    }
}

fn settle(reply: Reply) -> Result<Value, Stop> {
    match reply {
        Reply::Now(outcome) => Ok(outcome?),
        Reply::Later(future) => Err(Stop::Later(future)),
    }
}

fn name_of(name: Value) -> Result<String, Exception> {
    match name {
        Value::Str(name) => Ok(name),
        Value::Bytes(bytes) => String::from_utf8(bytes.into())
            .map_err(|_| Exception::type_error("attribute name must be text")),
        other => Err(Exception::type_error(format!(
            "attribute name must be string, not '{}'",
            other.kind()
        ))),
    }
}

fn object_of(value: Value, to: &str) -> Result<Arc<dyn Object>, Exception> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Exception::type_error(format!(
            "can't {to} a {} that is no object of this process",
            other.kind()
        ))),
    }
}

fn not_callable(value: &Value) -> Exception {
    Exception::type_error(format!("'{}' object is not callable", value.kind()))
}
