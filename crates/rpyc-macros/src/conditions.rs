//! `#[cfg(...)]` and `#[cfg_attr(...)]` on methods.
//!
//! A macro sees a block before the compiler has decided what of it is compiled, and can't ask. So what it
//! generates for a method has the method's conditions: the compiler decides on both in the same way.
//!
//! A `cfg_attr` with options in it gives a method two [readings](Reading), of which one is compiled.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, FnArg, Meta, Signature, Token, parse_quote};

/// When something is compiled. As tokens: the attribute that says so, or nothing if it always is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions(Vec<TokenStream>);

impl Conditions {
    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one.
    fn push(&mut self, predicate: TokenStream) {
        self.0.push(predicate);
    }

    /// Whether one is plainly the opposite of another: what has them is never compiled.
    fn is_never(&self) -> bool {
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        (self.0.iter()).any(|one| texts.contains(&quote!(not(#one)).to_string()))
    }

    /// What stands in a `cfg`.
    pub(crate) fn predicate(&self) -> TokenStream {
        match self.0.as_slice() {
            [one] => one.clone(),
            all => quote!(all(#(#all),*)),
        }
    }
}

impl ToTokens for Conditions {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        if !self.is_empty() {
            let predicate = self.predicate();
            tokens.extend(quote!(#[cfg(#predicate)]));
        }
    }
}

/// The attributes of a method under certain conditions, without those that are conditions.
#[derive(Default, Clone)]
pub(crate) struct Reading {
    pub(crate) conditions: Conditions,
    pub(crate) attributes: Vec<Attribute>,
}

/// All readings of a method's attributes. At most one is compiled.
///
/// # Errors
/// A `cfg_attr` that is none.
pub(crate) fn readings(attributes: &[Attribute]) -> syn::Result<Vec<Reading>> {
    let mut readings = vec![Reading::default()];
    for attribute in attributes {
        if let Some(predicate) = predicate(attribute) {
            for reading in &mut readings {
                reading.conditions.push(predicate.clone());
            }
            continue;
        }
        match Conditional::read(attribute)? {
            Some(conditional) if conditional.attributes.iter().any(matters) => {
                readings = conditional.split(&readings)?;
            }
            _ => {
                for reading in &mut readings {
                    reading.attributes.push(attribute.clone());
                }
            }
        }
    }
    Ok(readings)
}

/// Takes options off a method that is left in place: in readings, they have been read.
///
/// # Errors
/// A `cfg_attr` that is none.
pub(crate) fn remove_options(attributes: &mut Vec<Attribute>) -> syn::Result<()> {
    let before = std::mem::take(attributes);
    for attribute in before {
        if is_options(&attribute) {
            continue;
        }
        let Some(mut conditional) = Conditional::read(&attribute)? else {
            attributes.push(attribute);
            continue;
        };
        remove_options(&mut conditional.attributes)?;
        if conditional.attributes.is_empty() {
            continue;
        }
        let predicate = &conditional.predicate;
        let metas = conditional
            .attributes
            .iter()
            .map(|attribute| &attribute.meta);
        attributes.push(parse_quote!(#[cfg_attr(#predicate, #(#metas),*)]));
    }
    Ok(())
}

/// Refuses conditions on the parameters of a method that code is generated for.
///
/// # Errors
/// The first one, where it stands.
pub(crate) fn refuse_on_parameters(signature: &Signature) -> syn::Result<()> {
    for input in &signature.inputs {
        let FnArg::Typed(parameter) = input else {
            continue;
        };
        for attribute in &parameter.attrs {
            let conditional = Conditional::read(attribute)?;
            let is_condition = predicate(attribute).is_some()
                || conditional
                    .is_some_and(|conditional| conditional.attributes.iter().any(matters));
            if is_condition {
                let text = "a parameter can't depend on a `cfg` here: write the method twice, \
                            each with its own `#[cfg(...)]`";
                return Err(syn::Error::new_spanned(attribute, text));
            }
        }
    }
    Ok(())
}

/// What a `cfg_attr` says.
struct Conditional {
    predicate: TokenStream,
    attributes: Vec<Attribute>,
}

impl Conditional {
    /// `None`: it is another attribute.
    fn read(attribute: &Attribute) -> syn::Result<Option<Self>> {
        let Meta::List(list) = &attribute.meta else {
            return Ok(None);
        };
        if !list.path.is_ident("cfg_attr") {
            return Ok(None);
        }
        let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
        let mut metas = parser.parse2(list.tokens.clone())?.into_iter();
        let Some(predicate) = metas.next() else {
            return Err(syn::Error::new_spanned(attribute, "expected a condition"));
        };
        let attributes = metas.map(|meta| parse_quote!(#[#meta])).collect();
        Ok(Some(Self {
            predicate: predicate.into_token_stream(),
            attributes,
        }))
    }

    /// Each of these readings twice: with what depends on the condition, and without.
    fn split(&self, before: &[Reading]) -> syn::Result<Vec<Reading>> {
        let inner = readings(&self.attributes)?;
        let predicate = &self.predicate;
        let mut after = Vec::new();
        for reading in before {
            for more in &inner {
                let mut with = reading.clone();
                with.conditions.push(predicate.clone());
                with.conditions.0.extend_from_slice(&more.conditions.0);
                with.attributes.extend_from_slice(&more.attributes);
                after.push(with);
            }
            let mut without = reading.clone();
            without.conditions.push(quote!(not(#predicate)));
            after.push(without);
        }
        after.retain(|reading| !reading.conditions.is_never());
        Ok(after)
    }
}

/// The condition in a `cfg`.
fn predicate(attribute: &Attribute) -> Option<TokenStream> {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => Some(list.tokens.clone()),
        _ => None,
    }
}

/// Whether an attribute says something to the macros.
fn matters(attribute: &Attribute) -> bool {
    let path = attribute.path();
    is_options(attribute)
        || path.is_ident("cfg")
        || path.is_ident("cfg_attr")
        || (path.is_ident("doc") && matches!(attribute.meta, Meta::NameValue(_)))
}

fn is_options(attribute: &Attribute) -> bool {
    attribute.path().is_ident("rpyc")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attributes of a function, as it is written.
    fn attributes(text: &str) -> Vec<Attribute> {
        let function: syn::ItemFn = syn::parse_str(&format!("{text} fn f() {{}}")).unwrap();
        function.attrs
    }

    /// Each reading: its attribute, and what is left.
    fn read(text: &str) -> Vec<(String, String)> {
        let readings = readings(&attributes(text)).unwrap();
        let as_text = |reading: Reading| {
            let attributes = reading.attributes;
            let conditions = reading.conditions.into_token_stream();
            (conditions.to_string(), quote!(#(#attributes)*).to_string())
        };
        readings.into_iter().map(as_text).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn conditions_are_collected() {
        assert_eq!(
            read("#[rpyc(exposed)]"),
            pairs(&[("", "# [rpyc (exposed)]")])
        );
        assert_eq!(
            read("#[cfg(unix)] #[inline] #[cfg(not(test))]"),
            pairs(&[("# [cfg (all (unix , not (test)))]", "# [inline]")])
        );
    }

    #[test]
    fn options_that_depend_on_a_condition_are_read_both_ways() {
        assert_eq!(
            read("#[cfg_attr(unix, rpyc(exposed), inline)] #[cfg(test)]"),
            pairs(&[
                (
                    "# [cfg (all (unix , test))]",
                    "# [rpyc (exposed)] # [inline]"
                ),
                ("# [cfg (all (not (unix) , test))]", ""),
            ])
        );
        // What is of no concern stays as it is.
        assert_eq!(
            read("#[cfg_attr(unix, inline)]"),
            pairs(&[("", "# [cfg_attr (unix , inline)]")])
        );
        assert_eq!(
            read("#[cfg_attr(a, cfg_attr(b, cfg(c)))]"),
            pairs(&[
                ("# [cfg (all (a , b , c))]", ""),
                ("# [cfg (all (a , not (b)))]", ""),
                ("# [cfg (not (a))]", ""),
            ])
        );
    }

    #[test]
    fn what_excludes_each_other_is_not_read_together() {
        assert_eq!(
            read("#[cfg_attr(unix, rpyc(exposed))] #[cfg_attr(not(unix), rpyc(name = \"x\"))]"),
            pairs(&[
                (
                    "# [cfg (all (unix , not (not (unix))))]",
                    "# [rpyc (exposed)]"
                ),
                (
                    "# [cfg (all (not (unix) , not (unix)))]",
                    "# [rpyc (name = \"x\")]"
                ),
            ])
        );
    }

    #[test]
    fn options_are_taken_off_and_nothing_else() {
        let mut left = attributes(
            "#[rpyc(exposed)] #[cfg(a)] #[cfg_attr(b, rpyc(name = \"x\"))] \
             #[cfg_attr(c, inline, rpyc(exposed), must_use)]",
        );
        remove_options(&mut left).unwrap();
        assert_eq!(
            quote!(#(#left)*).to_string(),
            "# [cfg (a)] # [cfg_attr (c , inline , must_use)]"
        );
    }
}
