//! What can't be a service, and where the error points.

use proc_macro2::TokenStream;

use super::expand;

/// The error for a block with this method, and the source that it points at.
fn error(method: &str) -> (String, String) {
    error_in(TokenStream::new(), &format!("impl Service {{ {method} }}"))
}

fn error_in(options: TokenStream, block: &str) -> (String, String) {
    let error = expand(options, syn::parse_str(block).unwrap()).unwrap_err();
    let place = error.span().source_text().unwrap_or_default();
    (error.to_string(), place)
}

#[test]
fn what_can_not_be_exposed_is_pointed_at() {
    for (method, text, place) in [
        (
            "#[rpyc(exposd)] fn f(&self) {}",
            "known are `exposed`",
            "exposd",
        ),
        (
            "#[rpyc(exposed, exposed)] fn f(&self) {}",
            "given twice",
            "exposed",
        ),
        ("#[rpyc(exposed = 1)] fn f(&self) {}", "takes no value", "1"),
        (
            "#[rpyc(exposed, name)] fn f(&self) {}",
            "needs a value",
            "name",
        ),
        (
            "#[rpyc(exposed, name = 1)] fn f(&self) {}",
            "is a text",
            "1",
        ),
        (
            "#[rpyc(name = \"a b\")] fn f(&self) {}",
            "is no name in Python",
            "\"a b\"",
        ),
        (
            "#[rpyc] fn f(&self) {}",
            "expected `#[rpyc(...)]`",
            "#[rpyc]",
        ),
        (
            "#[rpyc(exposed, property)] fn f(&self) {}",
            "is one of",
            "property",
        ),
        (
            "#[rpyc(exposed)] fn f(&mut self) {}",
            "peers share the object",
            "&mut self",
        ),
        (
            "#[rpyc(exposed)] fn f(self) {}",
            "peers share the object",
            "self",
        ),
        (
            "#[rpyc(exposed)] fn f<T>(&self, x: T) {}",
            "can't be generic",
            "T",
        ),
        (
            "#[rpyc(exposed)] fn f(&self, x: impl Into<i64>) {}",
            "must be known",
            "impl Into<i64>",
        ),
        (
            "#[rpyc(exposed)] fn f(&self, x: &mut i64) {}",
            "borrowed mutably",
            "&mut i64",
        ),
        (
            "#[rpyc(exposed)] fn f(&self, (a, b): (i64, i64)) {}",
            "needs a name",
            "(a, b)",
        ),
        (
            "#[rpyc(exposed)] fn f(&self, rest: Args, a: i64) {}",
            "the last parameter",
            "rest: Args",
        ),
        (
            "#[rpyc(exposed)] fn f(&self, a: Option<i64>, b: i64) {}",
            "can't follow",
            "b: i64",
        ),
        (
            "#[rpyc(exposed)] fn f(&self, #[rpyc(default = 1)] c: &Connection) {}",
            "no argument of the caller",
            "default",
        ),
        (
            "fn f(&self, #[rpyc(default = 1)] a: i64) {}",
            "is not exposed",
            "#[rpyc(default = 1)]",
        ),
        (
            "#[rpyc(property)] fn f(&self, a: i64) -> i64 { a }",
            "nothing else",
            "a: i64",
        ),
        (
            "#[rpyc(property)] async fn f(&self) -> i64 { 1 }",
            "can be async",
            "async",
        ),
        (
            "#[rpyc(setter)] fn f(&self, a: i64) {}",
            "which attribute",
            "f",
        ),
        (
            "#[rpyc(setter)] fn set_f(&self, a: i64) {}",
            "needs a `#[rpyc(property)]`",
            "set_f",
        ),
        (
            "#[rpyc(property)] fn f(&self) -> i64 { 1 } #[rpyc(setter)] fn set_f(&self) {}",
            "the new value",
            "&self",
        ),
        (
            "#[rpyc(on_connect, name = \"x\")] fn f(&self) {}",
            "needs no name",
            "\"x\"",
        ),
        (
            "#[rpyc(on_disconnect)] fn f(&self, a: i64) {}",
            "nothing else",
            "a: i64",
        ),
        (
            "#[rpyc(property)] fn f(self: Arc<Self>) -> i64 { 1 }",
            "as an `Arc`",
            "Arc<Self>",
        ),
        (
            "#[rpyc(exposed)] fn f(&self) {} #[rpyc(exposed, name = \"f\")] fn g(&self) {}",
            "exposed twice",
            "g",
        ),
    ] {
        let (found, found_place) = error(method);
        assert!(found.contains(text), "{method}: {found}");
        assert_eq!(found_place, place, "{method}");
    }
}

#[test]
fn the_block_must_be_the_types_own() {
    let (text, place) = error_in(TokenStream::new(), "impl Clone for Service {}");
    assert!(text.contains("own block"), "{text}");
    assert_eq!(place, "Clone");
}

#[test]
fn the_class_is_a_dotted_name() {
    let options = syn::parse_str("name = \"shop/Calc\"").unwrap();
    let (text, _) = error_in(options, "impl Service {}");
    assert!(text.contains("no dotted name"), "{text}");
}

#[test]
fn what_is_not_marked_stays_private() {
    let block = "impl Service { fn secret(&self) {} #[rpyc(exposed)] fn open(&self) {} }";
    let expanded = expand(TokenStream::new(), syn::parse_str(block).unwrap()).unwrap();
    let expanded = expanded.to_string();
    assert_eq!(expanded.matches("secret").count(), 1, "{expanded}");
    assert!(!expanded.contains("# [rpyc"), "{expanded}");
}

#[test]
fn what_is_wrong_under_conditions_is_left_to_the_compiler() {
    for (methods, condition, text) in [
        (
            "#[rpyc(exposed)] #[cfg(a)] fn f(&self) {} #[cfg(b)] #[rpyc(name = \"f\")] fn g(&self) {}",
            "# [cfg (all (a , b))]",
            "`f` is exposed twice",
        ),
        (
            "#[rpyc(on_connect)] fn f(&self) {} #[cfg_attr(b, rpyc(on_connect))] fn g(&self) {}",
            "# [cfg (all (all () , b))]",
            "a second on_connect",
        ),
        (
            "#[rpyc(property)] #[cfg(a)] fn x(&self) -> i64 { 1 } \
             #[rpyc(setter)] #[cfg(b)] fn set_x(&self, x: i64) {}",
            "# [cfg (all (b , not (any (a))))]",
            "a setter of `x` needs",
        ),
    ] {
        let block = syn::parse_str(&format!("impl Service {{ {methods} }}")).unwrap();
        let expanded = expand(TokenStream::new(), block).unwrap().to_string();
        let expected = format!("{condition} :: std :: compile_error ! (\"{text}");
        assert!(expanded.contains(&expected), "{expanded}");
    }
}

#[test]
fn parameters_do_not_depend_on_conditions() {
    for parameter in [
        "#[cfg(unix)] x: i64",
        "#[cfg_attr(unix, rpyc(default = 1))] x: i64",
    ] {
        let (text, place) = error(&format!("#[rpyc(exposed)] fn f(&self, {parameter}) {{}}"));
        assert!(text.contains("write the method twice"), "{text}");
        assert!(parameter.starts_with(&place), "{place}");
    }
}
