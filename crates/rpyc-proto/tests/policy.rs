//! Attribute access, against the truth table that RPyC's own decision procedure gave.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use common::{list, text, vectors};
use rpyc_proto::policy::{Access, Policy, Subject};
use serde_json::Value;

/// What the object of the recorded table has, as far as its names are in the table.
const SHAPES: &[&str] = &[
    "foo",
    "both",
    "_p",
    "_q",
    "next",
    "exposed_bar",
    "exposed_both",
    "exposed__q",
    "exposed__r",
    "exposed___dict__",
    "exposed___contains__",
    "__add__",
    "__contains__",
    // Every object has these.
    "__init__",
    "__dict__",
];

#[test]
fn the_truth_table_holds() {
    let vectors = vectors();
    let table = &vectors["attr_access"];
    let safe: Vec<&str> = list(&table["safe_attrs"]).iter().map(text).collect();
    assert_eq!(list(&table["rows"]).len(), 16);
    for row in list(&table["rows"]) {
        assert_resolves(row, &row["resolved"], &safe);
    }
}

#[test]
fn the_extra_configurations_hold() {
    let vectors = vectors();
    let table = &vectors["attr_access"];
    let safe: Vec<&str> = list(&table["safe_attrs"]).iter().map(text).collect();
    for extra in list(&table["extra"]) {
        if extra["config"]["allow_getattr"] == Value::Bool(false) {
            // The master switch stands before the policy: everything is denied unasked.
            assert!(
                extra["resolved"]
                    .as_object()
                    .unwrap()
                    .values()
                    .all(Value::is_null)
            );
            continue;
        }
        assert_resolves(&extra["config"], &extra["resolved"], &safe);
    }
}

#[test]
fn an_object_is_asked_only_where_the_answer_matters() {
    let all = Policy {
        all: true,
        safe: true,
        public: false,
        prefix: None,
    };
    let mut shape = Shape::new("_p", "", &[]);
    assert_eq!(all.decide("_p", &mut shape), Ok(Access::Name));
    assert_eq!(shape.asked, [""; 0], "classic mode looks at nothing");

    let default = Policy {
        all: false,
        safe: true,
        public: false,
        prefix: Some("exposed_"),
    };
    let mut shape = Shape::new("bar", "exposed_", &["__add__"]);
    assert_eq!(default.decide("bar", &mut shape), Ok(Access::Twin));
    assert_eq!(
        shape.asked,
        ["safe", "twin"],
        "a name that is not plain need not exist"
    );
}

#[test]
fn a_failing_look_is_handed_on() {
    let policy = Policy {
        all: false,
        safe: false,
        public: false,
        prefix: Some("exposed_"),
    };
    let mut shape = Shape::new("raises", "exposed_", &[]);
    assert_eq!(
        policy.decide("raises", &mut shape),
        Err("a property failed")
    );
}

/// Compares the decisions under one configuration with the recorded ones.
fn assert_resolves(config: &Value, resolved: &Value, safe: &[&str]) {
    let switch = |key: &str, default: bool| config[key].as_bool().unwrap_or(default);
    let prefix = config["exposed_prefix"].as_str().unwrap_or("exposed_");
    let policy = Policy {
        all: switch("allow_all_attrs", false),
        safe: switch("allow_safe_attrs", true),
        public: switch("allow_public_attrs", false),
        prefix: switch("allow_exposed_attrs", true).then_some(prefix),
    };
    let resolved = resolved.as_object().unwrap();
    assert_eq!(resolved.len(), 18);
    for (name, expected) in resolved {
        let access = policy
            .decide(name, &mut Shape::new(name, prefix, safe))
            .unwrap();
        let used = match access {
            Access::Name => Some(name.clone()),
            Access::Twin => Some(format!("{prefix}{name}")),
            Access::Denied => None,
        };
        assert_eq!(used.as_deref(), expected.as_str(), "{name} under {config}");
    }
}

/// One name of the recorded object, and what was asked about it.
struct Shape<'a> {
    name: &'a str,
    twin: String,
    safe: &'a [&'a str],
    asked: Vec<&'static str>,
}

impl<'a> Shape<'a> {
    fn new(name: &'a str, prefix: &str, safe: &'a [&'a str]) -> Self {
        Self {
            name,
            twin: format!("{prefix}{name}"),
            safe,
            asked: Vec::new(),
        }
    }
}

impl Subject for Shape<'_> {
    type Error = &'static str;

    fn is_safe(&mut self) -> Result<bool, Self::Error> {
        self.asked.push("safe");
        Ok(self.safe.contains(&self.name))
    }

    fn has_name(&mut self) -> Result<bool, Self::Error> {
        self.asked.push("name");
        Ok(SHAPES.contains(&self.name))
    }

    fn has_twin(&mut self) -> Result<bool, Self::Error> {
        self.asked.push("twin");
        if self.name == "raises" {
            return Err("a property failed");
        }
        Ok(SHAPES.contains(&self.twin.as_str()))
    }
}
