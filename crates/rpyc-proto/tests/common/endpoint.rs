//! One end of a connection without a transport: bytes are moved by hand.

use std::collections::BTreeMap;

use rpyc_proto::boxing;
use rpyc_proto::consts::MessageKind;
use rpyc_proto::dispatch;
use rpyc_proto::limits::Limits;
use rpyc_proto::message;
use rpyc_proto::session::{Event, Session};
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::{Deframer, Payload, Writer};

use super::object::{Failure, Model, Value};
use super::plain::Plain;

/// What came back for a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Value(Value),
    /// The name and the text of an exception.
    Raised(String, String),
}

/// One end.
pub(crate) struct Endpoint {
    pub(crate) model: Model,
    pub(crate) session: Session<&'static str>,
    /// What came back, by sequence number.
    pub(crate) answers: BTreeMap<u64, Answer>,
    /// Sequence numbers of answers that nothing waited for.
    pub(crate) orphans: Vec<Option<u64>>,
    /// How many large values arrived apart from their payload.
    pub(crate) bulk: usize,
    deframer: Deframer<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Endpoint {
    /// An end; `number` tells it from others.
    pub(crate) fn new(number: usize) -> Self {
        let limits = Limits::default();
        Self {
            model: Model::new(number),
            session: Session::new(&limits),
            answers: BTreeMap::new(),
            orphans: Vec::new(),
            bulk: 0,
            deframer: Deframer::new(limits, 1),
            outgoing: Vec::new(),
        }
    }

    /// Begins a request. Returns its sequence number.
    pub(crate) fn request(&mut self, handler: i64, args: Vec<Value>) -> u64 {
        let seq = self.session.begin("request").unwrap();
        let mut out = Writer::new_frame();
        dispatch::put_request(&mut out, message::Dialect::V6, seq, handler);
        boxing::put_boxed(&mut self.model, &mut out, &Value::Tuple(args)).unwrap();
        self.send(out);
        seq
    }

    /// Begins a request whose body is given: `(handler, boxed arguments)`, encoded.
    pub(crate) fn request_raw(&mut self, body: &[u8]) -> u64 {
        let seq = self.session.begin("raw request").unwrap();
        let mut out = Writer::new_frame();
        message::put_numbered_head(&mut out, message::Dialect::V6, MessageKind::Request, seq);
        out.put_raw(body);
        self.send(out);
        seq
    }

    /// Lets a proxy go: releases all its references.
    pub(crate) fn release(&mut self, proxy: Value) -> u64 {
        let Value::Proxy(proxy) = proxy else {
            panic!("not a proxy");
        };
        let seq = self.session.begin("release").unwrap();
        let mut out = Writer::new_frame();
        dispatch::put_request(&mut out, message::Dialect::V6, seq, 15);
        dispatch::put_target(&mut out, proxy.id.as_bytes(), 1);
        dispatch::put_boxed_with(&mut out, |out| out.put_int(proxy.count.get()));
        self.send(out);
        seq
    }

    /// Takes bytes off the wire and acts on what they say.
    pub(crate) fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.deframer.feed(bytes);
            bytes = &bytes[taken..];
            while let Some(payload) = self.deframer.poll().unwrap() {
                self.bulk += payload.bulk.len();
                self.handle(&payload);
            }
        }
    }

    fn handle(&mut self, payload: &Payload<Vec<u8>>) {
        match self.session.handle(payload).unwrap() {
            Event::Request { seq, body } => {
                let result = self.perform(payload, body);
                let mut out = Writer::new_frame();
                match result {
                    Ok(value) => {
                        message::put_head(
                            &mut out,
                            message::Dialect::V6,
                            MessageKind::Reply,
                            &payload.head[seq],
                        );
                        boxing::put_boxed(&mut self.model, &mut out, &value).unwrap();
                    }
                    Err(failure) => {
                        message::put_head(
                            &mut out,
                            message::Dialect::V6,
                            MessageKind::Exception,
                            &payload.head[seq],
                        );
                        put_failure(&mut out, &failure);
                    }
                }
                self.send(out);
            }
            Event::Answer {
                is_exception, body, ..
            } => {
                let number = message::Message::parse(payload).unwrap().number.unwrap();
                let answer = if is_exception {
                    read_failure(payload, body)
                } else {
                    let value = boxing::take_boxed(&mut self.model, payload, body);
                    Answer::Value(value.unwrap())
                };
                assert!(self.answers.insert(number, answer).is_none());
            }
            Event::Orphan { number, .. } => self.orphans.push(number),
        }
    }

    fn perform(&mut self, payload: &Payload<Vec<u8>>, body: usize) -> Result<Value, Failure> {
        if let Some((id, count)) = dispatch::peek_release(payload, body) {
            let id = id.canonical();
            return self.model.release_id(&id, count);
        }
        let request = dispatch::read_request(&mut self.model, payload, body)?;
        dispatch::dispatch(&mut self.model, request)
    }

    fn send(&mut self, mut out: Writer<Vec<u8>>) {
        let frame = out.seal().unwrap();
        frame
            .pieces()
            .for_each(|piece| self.outgoing.extend_from_slice(piece));
    }
}

/// Moves bytes both ways, in pieces of odd sizes, until nothing is left to move.
pub(crate) fn exchange(one: &mut Endpoint, other: &mut Endpoint) {
    while !(one.outgoing.is_empty() && other.outgoing.is_empty()) {
        for piece in std::mem::take(&mut one.outgoing).chunks(997) {
            other.receive(piece);
        }
        for piece in std::mem::take(&mut other.outgoing).chunks(1009) {
            one.receive(piece);
        }
    }
}

/// Sends a request and takes its answer.
pub(crate) fn ask(
    from: &mut Endpoint,
    to: &mut Endpoint,
    handler: i64,
    args: Vec<Value>,
) -> Answer {
    let seq = from.request(handler, args);
    exchange(from, to);
    from.answers.remove(&seq).unwrap()
}

/// Sends a request with a body made by hand and takes its answer.
pub(crate) fn ask_raw(from: &mut Endpoint, to: &mut Endpoint, body: &[u8]) -> Answer {
    let seq = from.request_raw(body);
    exchange(from, to);
    from.answers.remove(&seq).unwrap()
}

fn put_failure(out: &mut Writer<Vec<u8>>, failure: &Failure) {
    let (name, text) = failure.describe();
    let args = Plain::Tuple(vec![Plain::Str(text)]).encode();
    Vinegar::Exception {
        module: "builtins",
        name,
        args: &args,
        attributes: &Plain::Tuple(vec![]).encode(),
        traceback: "<traceback denied>",
    }
    .write(out);
}

fn read_failure(payload: &Payload<Vec<u8>>, body: usize) -> Answer {
    let mut reader = payload.reader_at(body);
    let Vinegar::Exception { name, args, .. } = Vinegar::read(&mut reader).unwrap() else {
        panic!("not an exception with arguments");
    };
    let Plain::Tuple(args) = Plain::decode(args).unwrap() else {
        panic!("arguments are a tuple");
    };
    match args.as_slice() {
        [Plain::Str(text)] => Answer::Raised(name.to_owned(), text.clone()),
        other => panic!("unexpected arguments: {other:?}"),
    }
}
