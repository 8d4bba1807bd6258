//! A registry's memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::messages::{ACKNOWLEDGED, Command, Port, encode};
use crate::value::Value;

/// How many names at addresses are remembered. Peers need no permission to register, so there must be
/// a limit.
const MAX_ENTRIES: usize = 10_000;

/// Who offers what.
#[derive(Debug)]
pub(super) struct Services {
    /// By name; each in order of registration.
    entries: BTreeMap<String, Vec<Entry>>,
    pub(super) prune_after: Duration,
    pub(super) allow_listing: bool,
}

#[derive(Debug)]
struct Entry {
    host: String,
    port: Port,
    seen: Instant,
}

impl Services {
    pub(super) const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            prune_after: Duration::from_secs(240),
            allow_listing: true,
        }
    }

    /// The reply to a request; `None`: it is not answered.
    pub(super) fn answer(&mut self, host: &str, request: &[u8], now: Instant) -> Option<Vec<u8>> {
        let Some(command) = Command::decode(request) else {
            log::warn!("a request of {host} is no registry message");
            return None;
        };
        let reply = match command {
            Command::Query(name) => self.query(&name.to_uppercase(), now),
            Command::List(filter) => self.list(filter.as_deref(), now),
            Command::Register(names, port) => self.register(host, &names, &port, now)?,
            Command::Unregister(port) => {
                self.unregister(host, &port);
                Value::Str(ACKNOWLEDGED.to_owned())
            }
        };
        Some(encode(&reply))
    }

    fn query(&mut self, name: &str, now: Instant) -> Value {
        self.prune(now);
        let mut found: Vec<_> = self.entries.get(name).into_iter().flatten().collect();
        found.sort_by_key(|entry| entry.seen);
        let pair = |entry: &Entry| {
            Value::Tuple(vec![Value::Str(entry.host.clone()), entry.port.to_value()])
        };
        Value::Tuple(found.into_iter().map(pair).collect())
    }

    fn list(&mut self, host: Option<&str>, now: Instant) -> Value {
        if !self.allow_listing {
            return Value::None;
        }
        self.prune(now);
        let names = self.entries.iter().filter(|(_, entries)| {
            host.is_none_or(|host| entries.iter().any(|entry| entry.host == host))
        });
        Value::Tuple(names.map(|(name, _)| Value::Str(name.clone())).collect())
    }

    fn register(
        &mut self,
        host: &str,
        names: &[String],
        port: &Port,
        now: Instant,
    ) -> Option<Value> {
        for name in names {
            let name = name.to_uppercase();
            let known = self
                .entries
                .get_mut(&name)
                .and_then(|entries| entries.iter_mut().find(|entry| entry.is(host, port)));
            if let Some(entry) = known {
                entry.seen = now;
                continue;
            }
            if self.count() >= MAX_ENTRIES {
                self.prune(now);
                if self.count() >= MAX_ENTRIES {
                    log::warn!("the registry is full: {name} of {host} was not registered");
                    return None;
                }
            }
            log::info!("{host} offers {name}");
            self.entries.entry(name).or_default().push(Entry {
                host: host.to_owned(),
                port: port.clone(),
                seen: now,
            });
        }
        Some(Value::Str(ACKNOWLEDGED.to_owned()))
    }

    fn unregister(&mut self, host: &str, port: &Port) {
        self.retain(|entry| !entry.is(host, port));
    }

    fn prune(&mut self, now: Instant) {
        let prune_after = self.prune_after;
        self.retain(|entry| now.saturating_duration_since(entry.seen) <= prune_after);
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.entries.retain(|_, entries| {
            entries.retain(&keep);
            !entries.is_empty()
        });
    }

    fn count(&self) -> usize {
        self.entries.values().map(Vec::len).sum()
    }
}

impl Entry {
    fn is(&self, host: &str, port: &Port) -> bool {
        self.host == host && self.port == *port
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{decode, read_names};
    use super::*;

    fn names(services: &mut Services, now: Instant) -> Vec<String> {
        let reply = services.answer("h", &Command::List(None).encode(), now);
        read_names(&decode(&reply.unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn who_is_not_heard_of_for_long_is_forgotten() {
        let mut services = Services::new();
        let start = Instant::now();
        let register = |name: &str| Command::Register(vec![name.into()], Port::Number(1)).encode();
        services.answer("h", &register("old"), start);
        let later = start + Duration::from_secs(200);
        services.answer("h", &register("new"), later);
        assert_eq!(names(&mut services, later), ["NEW", "OLD"]);
        assert_eq!(
            names(&mut services, start + Duration::from_secs(241)),
            ["NEW"]
        );
    }

    #[test]
    fn a_full_registry_takes_no_more() {
        let mut services = Services::new();
        let now = Instant::now();
        for turn in 0..MAX_ENTRIES / 10 + 1 {
            let names = (0..10).map(|n| format!("{turn}-{n}")).collect();
            let request = Command::Register(names, Port::Number(1)).encode();
            let answered = services.answer("h", &request, now).is_some();
            assert_eq!(answered, turn < MAX_ENTRIES / 10);
        }
    }
}
