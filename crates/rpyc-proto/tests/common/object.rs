//! A small object model: a few plain kinds, objects with attributes, proxies.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};

use rpyc_proto::exports::{Exports, Released};
use rpyc_proto::id::{EncodedId, IdPack};
use rpyc_proto::limits::MAX_DEPTH;
use rpyc_proto::model::{ObjectModel, Operations, ProtocolError};
use rpyc_proto::wire::{BULK_MIN, DecodeError, Reader, Token, Writer};

/// A live value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
    Tuple(Vec<Self>),
    Object(Rc<Object>),
    Proxy(Rc<Proxy>),
}

/// Something that goes by reference.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) attributes: RefCell<BTreeMap<String, Value>>,
}

/// Stands for an object of the peer.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) id: EncodedId,
    pub(crate) name: String,
    /// References received, to be released in one go.
    pub(crate) count: Cell<i64>,
    /// The model whose peer owns the object.
    owner: usize,
}

/// What a failed operation yields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Protocol(ProtocolError),
    Raised(&'static str, String),
}

/// One end's objects.
pub(crate) struct Model {
    pub(crate) root: Rc<Object>,
    pub(crate) exports: Exports<Value>,
    pub(crate) closed: bool,
    proxies: HashMap<EncodedId, Weak<Proxy>>,
    number: usize,
}

/// Equality as Python's `is` for what goes by reference, by value for the rest.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => Rc::ptr_eq(a, b),
            (Self::Proxy(a), Self::Proxy(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A fresh object.
    pub(crate) fn object() -> Self {
        Self::Object(Rc::default())
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.into())
    }
}

impl Failure {
    /// The name of the exception that stands for it, as RPyC has it, and its text.
    pub(crate) fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Raised(name, text) => (name, text.clone()),
            Self::Protocol(error) => {
                let name = match error {
                    ProtocolError::Arity { .. } => "TypeError",
                    ProtocolError::Label(_) | ProtocolError::Decode(_) => "ValueError",
                    ProtocolError::Unsupported(_) => "KeyError",
                };
                (name, error.to_string())
            }
        }
    }
}

impl Model {
    /// A model; `number` tells it from others.
    pub(crate) fn new(number: usize) -> Self {
        Self {
            root: Rc::default(),
            exports: Exports::default(),
            closed: false,
            proxies: HashMap::new(),
            number,
        }
    }

    /// Takes back references by id.
    pub(crate) fn release_id(&mut self, id: &EncodedId, count: i64) -> Result<Value, Failure> {
        match self.exports.release(id.as_bytes(), count) {
            Released::Unknown => Err(Failure::Raised("KeyError", "not held".into())),
            Released::Kept => Ok(Value::None),
            Released::Gone(object) => {
                drop(object);
                Ok(Value::None)
            }
        }
    }

    fn read_at_depth(
        &mut self,
        reader: &mut Reader<'_, Vec<u8>>,
        depth: usize,
    ) -> Result<Value, Failure> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep.into());
        }
        let at = reader.position();
        Ok(match reader.token()? {
            Token::None => Value::None,
            Token::Bool(value) => Value::Bool(value),
            Token::Int(value) => Value::Int(value),
            Token::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Token::Bulk(index) => Value::Bytes(reader.bulk(index).unwrap().clone()),
            Token::Str(text) => Value::text(text),
            Token::Tuple(count) => {
                let items: Result<_, _> = (0..count)
                    .map(|_| self.read_at_depth(reader, depth + 1))
                    .collect();
                Value::Tuple(items?)
            }
            other => {
                return Err(DecodeError::Unexpected {
                    expected: "a kind of the test model",
                    found: other.kind(),
                    at,
                }
                .into());
            }
        })
    }

    fn write_at_depth(
        value: &Value,
        out: &mut Writer<Vec<u8>>,
        depth: usize,
    ) -> Result<bool, Failure> {
        match value {
            Value::None => out.put_none(),
            Value::Bool(value) => out.put_bool(*value),
            Value::Int(value) => out.put_int(*value),
            Value::Bytes(bytes) if bytes.len() >= BULK_MIN => {
                out.put_bulk(bytes.len(), bytes.clone());
            }
            Value::Bytes(bytes) => out.put_bytes(bytes),
            Value::Text(text) => out.put_str(text),
            Value::Tuple(_) if depth >= MAX_DEPTH => return Err(DecodeError::TooDeep.into()),
            Value::Tuple(items) => {
                out.put_tuple(items.len());
                for item in items {
                    if !Self::write_at_depth(item, out, depth + 1)? {
                        return Ok(false);
                    }
                }
            }
            Value::Object(_) | Value::Proxy(_) => return Ok(false),
        }
        Ok(true)
    }
}

impl ObjectModel for Model {
    type Value = Value;
    type Bulk = Vec<u8>;
    type Error = Failure;

    fn read_plain(&mut self, reader: &mut Reader<'_, Vec<u8>>) -> Result<Value, Failure> {
        self.read_at_depth(reader, 0)
    }

    fn write_plain(&mut self, value: &Value, out: &mut Writer<Vec<u8>>) -> Result<bool, Failure> {
        Self::write_at_depth(value, out, 0)
    }

    fn tuple_items(&self, value: &Value) -> Option<Vec<Value>> {
        match value {
            Value::Tuple(items) => Some(items.clone()),
            _ => None,
        }
    }

    /// Bytes give numbers, texts give characters, an object gives its `items`.
    fn iterate(&mut self, value: Value) -> Result<Vec<Value>, Failure> {
        match value {
            Value::Tuple(items) => Ok(items),
            Value::Bytes(bytes) => Ok(bytes.into_iter().map(|b| Value::Int(b.into())).collect()),
            Value::Text(text) => Ok(text.chars().map(|c| Value::text(&c.to_string())).collect()),
            Value::Object(object) => match object.attributes.borrow().get("items") {
                Some(Value::Tuple(items)) => Ok(items.clone()),
                _ => Err(Failure::Raised("TypeError", "not iterable".into())),
            },
            _ => Err(Failure::Raised("TypeError", "not iterable".into())),
        }
    }

    fn make_tuple(&mut self, items: Vec<Value>) -> Result<Value, Failure> {
        Ok(Value::Tuple(items))
    }

    fn write_own_proxy(
        &mut self,
        value: &Value,
        out: &mut Writer<Vec<u8>>,
    ) -> Result<bool, Failure> {
        match value {
            Value::Proxy(proxy) if proxy.owner == self.number => {
                out.put_raw(proxy.id.as_bytes());
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn write_export(&mut self, value: &Value, out: &mut Writer<Vec<u8>>) -> Result<(), Failure> {
        match value {
            Value::Object(object) => {
                let identity = Rc::as_ptr(object) as usize;
                if let Some(id) = self.exports.export_again(identity) {
                    out.put_raw(id.as_bytes());
                    return Ok(());
                }
                // Ids of several ends can meet in one table, so the class id tells them apart.
                let class = 1000 + i64::try_from(self.number).unwrap();
                let instance = self.exports.take_instance();
                let id = EncodedId::new("test.Object", class, instance);
                out.put_raw(id.as_bytes());
                assert!(self.exports.insert(id, identity, value.clone()).is_none());
            }
            // A proxy of another connection keeps its id.
            Value::Proxy(proxy) => {
                out.put_raw(proxy.id.as_bytes());
                drop(self.exports.insert(proxy.id.clone(), 0, value.clone()));
            }
            plain => panic!("{plain:?} goes by value"),
        }
        Ok(())
    }

    fn local(&mut self, id: IdPack<'_>) -> Result<Value, Failure> {
        let entry = self.exports.get(id.canonical().as_bytes());
        entry
            .map(|entry| entry.object.clone())
            .ok_or_else(|| Failure::Raised("KeyError", format!("no {} is held", id.name)))
    }

    fn proxy(&mut self, id: IdPack<'_>) -> Result<Value, Failure> {
        let key = id.canonical();
        if let Some(proxy) = self.proxies.get(&key).and_then(Weak::upgrade) {
            proxy.count.set(proxy.count.get() + 1);
            return Ok(Value::Proxy(proxy));
        }
        let proxy = Rc::new(Proxy {
            id: key.clone(),
            name: id.name.to_owned(),
            count: Cell::new(1),
            owner: self.number,
        });
        self.proxies.insert(key, Rc::downgrade(&proxy));
        Ok(Value::Proxy(proxy))
    }
}

impl Operations for Model {
    fn unknown_handler(&mut self, handler: Value) -> Failure {
        Failure::Raised("KeyError", format!("{handler:?}"))
    }

    fn root(&mut self) -> Result<Value, Failure> {
        Ok(Value::Object(Rc::clone(&self.root)))
    }

    fn close(&mut self) -> Result<Value, Failure> {
        self.closed = true;
        Ok(Value::None)
    }

    fn getattr(&mut self, object: Value, name: Value) -> Result<Value, Failure> {
        let name = name_of(name)?;
        let found = attributes(&object)?.borrow().get(&name).cloned();
        found.ok_or(Failure::Raised("AttributeError", name))
    }

    fn delattr(&mut self, object: Value, name: Value) -> Result<Value, Failure> {
        let name = name_of(name)?;
        let removed = attributes(&object)?.borrow_mut().remove(&name);
        removed
            .map(|_| Value::None)
            .ok_or(Failure::Raised("AttributeError", name))
    }

    fn setattr(&mut self, object: Value, name: Value, value: Value) -> Result<Value, Failure> {
        let name = name_of(name)?;
        attributes(&object)?.borrow_mut().insert(name, value);
        Ok(Value::None)
    }

    /// What was called and with what.
    fn call(
        &mut self,
        object: Value,
        args: Value,
        kwargs: Option<Value>,
    ) -> Result<Value, Failure> {
        attributes(&object)?;
        Ok(Value::Tuple(vec![
            Value::text("called"),
            args,
            kwargs.unwrap_or(Value::None),
        ]))
    }

    fn repr(&mut self, object: Value) -> Result<Value, Failure> {
        Ok(match object {
            Value::Int(value) => Value::text(&value.to_string()),
            Value::Object(_) => Value::text("<object>"),
            _ => Value::text("<other>"),
        })
    }

    fn str(&mut self, object: Value) -> Result<Value, Failure> {
        self.repr(object)
    }

    fn cmp(&mut self, object: Value, other: Value, op: Option<Value>) -> Result<Value, Failure> {
        let op = op.unwrap_or_else(|| Value::text("__cmp__"));
        Ok(Value::Tuple(vec![op, Value::Bool(object == other)]))
    }

    fn hash(&mut self, object: Value) -> Result<Value, Failure> {
        attributes(&object)?;
        Ok(Value::Int(42))
    }

    fn dir(&mut self, object: Value) -> Result<Value, Failure> {
        let attributes = attributes(&object)?.borrow();
        let names = attributes.keys().map(|name| Value::text(name));
        Ok(Value::Tuple(names.collect()))
    }

    fn pickle(&mut self, _object: Value, _protocol: Value) -> Result<Value, Failure> {
        Err(Failure::Raised("ValueError", "pickling is disabled".into()))
    }

    fn release(&mut self, object: Value, count: Option<Value>) -> Result<Value, Failure> {
        let count = match count {
            None => 1,
            Some(Value::Int(count)) => count,
            Some(_) => return Err(Failure::Raised("TypeError", "count".into())),
        };
        let id = match &object {
            Value::Object(object) => self.exports.id_of(Rc::as_ptr(object) as usize).cloned(),
            Value::Proxy(proxy) => Some(proxy.id.clone()),
            _ => None,
        };
        match id {
            Some(id) => self.release_id(&id, count),
            None => Err(Failure::Raised("KeyError", "never held".into())),
        }
    }

    fn inspect(&mut self, id_pack: Value) -> Result<Value, Failure> {
        let mut out = Writer::new();
        Self::write_at_depth(&id_pack, &mut out, 0)?;
        let encoded = out.into_payload().head;
        if self.exports.get(&encoded).is_none() {
            return Err(Failure::Raised("KeyError", "unknown id".into()));
        }
        let method = Value::Tuple(vec![Value::text("__len__"), Value::None]);
        Ok(Value::Tuple(vec![method]))
    }

    fn buffiter(&mut self, object: Value, count: Value) -> Result<Value, Failure> {
        attributes(&object)?;
        let Value::Int(count) = count else {
            return Err(Failure::Raised("ValueError", "count".into()));
        };
        Ok(Value::Tuple((0..count).map(Value::Int).collect()))
    }

    fn oldslicing(&mut self, args: Vec<Value>) -> Result<Value, Failure> {
        Ok(Value::Tuple(args.into_iter().skip(1).collect()))
    }

    fn ctxexit(&mut self, object: Value, exc: Value) -> Result<Value, Failure> {
        attributes(&object)?;
        Ok(Value::Bool(exc != Value::None))
    }

    fn instancecheck(&mut self, class: Value, id_pack: Value) -> Result<Value, Failure> {
        attributes(&class)?;
        Ok(Value::Bool(matches!(id_pack, Value::Tuple(_))))
    }
}

fn attributes(value: &Value) -> Result<&RefCell<BTreeMap<String, Value>>, Failure> {
    match value {
        Value::Object(object) => Ok(&object.attributes),
        _ => Err(Failure::Raised("TypeError", "not an object".into())),
    }
}

fn name_of(name: Value) -> Result<String, Failure> {
    match name {
        Value::Text(name) => Ok(name),
        _ => Err(Failure::Raised("TypeError", "name must be a string".into())),
    }
}
