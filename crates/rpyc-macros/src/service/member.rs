//! One method of a service, as its options say.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{FnArg, GenericParam, ImplItemFn, ReceiverKind, ReturnType, Signature};

use super::parameter::Parameter;
use super::receiver_of;
use crate::conditions::{self, Conditions, Reading};
use crate::options::{Known, Options, check_name, docs};
use crate::types::is_shared_self;

/// What a method is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Exposed,
    Property,
    Setter,
    OnConnect,
    OnDisconnect,
}

/// How a method takes the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    /// Not at all.
    None,
    /// `&self`
    Reference,
    /// `self: Arc<Self>`
    Shared,
    /// `self: &Arc<Self>`
    SharedReference,
}

/// A method that peers reach, or that the connection calls.
pub(super) struct Member {
    /// When it is one: what is generated for it has the same.
    pub(super) conditions: Conditions,
    pub(super) role: Role,
    /// The name that peers use.
    pub(super) name: String,
    pub(super) ident: Ident,
    pub(super) doc: Option<String>,
    /// The type that it returns: where an error of that points.
    pub(super) output: Span,
    receiver: Receiver,
    is_async: bool,
    parameters: Vec<Parameter>,
}

const ROLES: [(&str, Role); 5] = [
    ("exposed", Role::Exposed),
    ("property", Role::Property),
    ("setter", Role::Setter),
    ("on_connect", Role::OnConnect),
    ("on_disconnect", Role::OnDisconnect),
];

impl Member {
    /// Takes the options off a method and reads it: one for each way to read its `cfg_attr`s; none if it
    /// stays private.
    ///
    /// # Errors
    /// It can't be what the options say.
    pub(super) fn take(function: &mut ImplItemFn) -> syn::Result<Vec<Self>> {
        let readings = conditions::readings(&function.attrs)?;
        conditions::remove_options(&mut function.attrs)?;
        let original = function.sig.clone();
        let mut members = Vec::new();
        for reading in readings {
            let mut signature = original.clone();
            if let Some(member) = Self::read(reading, &mut signature)? {
                members.push(member);
                // Without the options of its parameters.
                function.sig = signature;
            }
        }
        if members.is_empty() {
            refuse_options(&mut function.sig)?;
        }
        Ok(members)
    }

    /// Reads a method, and takes the options off its parameters.
    fn read(reading: Reading, signature: &mut Signature) -> syn::Result<Option<Self>> {
        let Reading {
            conditions,
            mut attributes,
        } = reading;
        let options = Options::take(
            &mut attributes,
            &[
                Known::Flag("exposed"),
                Known::Flag("property"),
                Known::Flag("setter"),
                Known::Flag("on_connect"),
                Known::Flag("on_disconnect"),
                Known::Text("name"),
            ],
        )?;
        let Some(role) = role(&options)? else {
            return Ok(None);
        };
        check_generics(signature)?;
        conditions::refuse_on_parameters(signature)?;
        let is_async = signature.asyncness.is_some();
        if let (Some(keyword), true) = (&signature.asyncness, role != Role::Exposed) {
            let text = "only `#[rpyc(exposed)]` methods can be async";
            return Err(syn::Error::new_spanned(keyword, text));
        }
        let receiver = receiver(signature, role)?;
        let parameters = parameters(signature)?;
        let member = Self {
            conditions,
            role,
            name: name(&options, role, &signature.ident)?,
            ident: signature.ident.clone(),
            doc: docs(&attributes),
            output: output_of(signature),
            receiver,
            is_async,
            parameters,
        };
        member.check_parameters(signature)?;
        Ok(Some(member))
    }

    /// Whether calling it takes the `Arc` that the object is in.
    pub(super) fn is_shared(&self) -> bool {
        self.is_async || !matches!(self.receiver, Receiver::None | Receiver::Reference)
    }

    /// Takes the arguments `args` apart: a `Result` of a tuple, or an exception.
    pub(super) fn bind(&self) -> TokenStream {
        let name = match self.role {
            Role::Setter => &format!("set_{}", self.name),
            _ => &self.name,
        };
        let takes = self.parameters.iter().filter_map(Parameter::take);
        let function = if self.parameters.iter().any(Parameter::is_rest) {
            quote!(bind_some)
        } else {
            quote!(bind_all)
        };
        quote! {
            ::rpyc::__macros::#function(args, #name, |parameters| {
                ::std::result::Result::Ok((#(#takes,)*))
            })
        }
    }

    /// The call with what was `bound`. For an exposed method it is a `Reply`, for others a `Result`.
    pub(super) fn call(&self) -> TokenStream {
        let bindings: Vec<_> = (0..self.parameters.iter().filter_map(Parameter::take).count())
            .map(|index| Ident::new(&format!("argument_{index}"), Span::mixed_site()))
            .collect();
        let pattern = if self.parameters.iter().any(Parameter::is_rest) {
            quote!(((#(#bindings,)*), rest))
        } else {
            quote!((#(#bindings,)*))
        };
        let mut bound = bindings.iter();
        let arguments = self
            .parameters
            .iter()
            .map(|parameter| parameter.pass(&mut bound));
        let receiver = if self.is_async && self.receiver == Receiver::Reference {
            Some(quote!(&self))
        } else {
            receiver_of(self.receiver)
        };
        let arguments = receiver.into_iter().chain(arguments);
        let ident = &self.ident;
        let span = self.output;
        let call = quote_spanned!(span=> Self::#ident(#(#arguments),*));
        let outcome = match (self.role, self.is_async) {
            (Role::Exposed, false) => quote_spanned!(span=> ::rpyc::__macros::reply(#call)),
            (Role::Exposed, true) => {
                let outcome = quote_spanned!(span=> ::rpyc::IntoOutcome::into_outcome(#call.await));
                quote! {{
                    let conn = ::rpyc::Connection::clone(conn);
                    ::rpyc::Reply::Later(::std::boxed::Box::pin(async move {
                        // The future keeps both, even if the method takes neither.
                        let conn = &conn;
                        #outcome
                    }))
                }}
            }
            _ => quote_spanned!(span=> ::rpyc::IntoOutcome::into_outcome(#call)),
        };
        quote!({ let #pattern = bound; #outcome })
    }

    /// The call of a method that takes nothing but, perhaps, the connection.
    pub(super) fn call_with_connection(&self) -> TokenStream {
        let conn = self.parameters.iter().map(|_| quote!(conn));
        let arguments = receiver_of(self.receiver).into_iter().chain(conn);
        let ident = &self.ident;
        quote_spanned!(self.output=> Self::#ident(#(#arguments),*))
    }

    /// The number and the kind of parameters that the role asks for.
    fn check_parameters(&self, signature: &Signature) -> syn::Result<()> {
        let inputs = &signature.inputs;
        let last = self.parameters.len().saturating_sub(1);
        let misplaced =
            |parameter: &Parameter, text: &str| Err(syn::Error::new(parameter.span(), text));
        for (index, parameter) in self.parameters.iter().enumerate() {
            if parameter.is_rest() && index != last {
                return misplaced(
                    parameter,
                    "`Args` takes all that is left: it must be the last parameter",
                );
            }
            let required_late = parameter.is_required()
                && self
                    .parameters
                    .iter()
                    .take(index)
                    .any(Parameter::is_optional);
            if required_late {
                let text = "a parameter that must be given can't follow one that may be left out";
                return misplaced(parameter, text);
            }
        }
        let mut values = self
            .parameters
            .iter()
            .filter(|parameter| !parameter.is_connection());
        match self.role {
            Role::Exposed => Ok(()),
            Role::Setter => match values.collect::<Vec<_>>()[..] {
                [value] if value.is_required() => Ok(()),
                _ => Err(syn::Error::new_spanned(
                    inputs,
                    "a setter takes `&self` and the new value",
                )),
            },
            Role::Property | Role::OnConnect | Role::OnDisconnect => match values.next() {
                None => Ok(()),
                Some(parameter) => misplaced(
                    parameter,
                    "this one takes `&self` and, if it likes, `&Connection`: nothing else",
                ),
            },
        }
    }
}

fn role(options: &Options) -> syn::Result<Option<Role>> {
    let mut given = ROLES.iter().filter(|(name, _)| options.has(name));
    let role = given.next().map(|(_, role)| *role);
    if let Some((name, _)) = given.next() {
        let span = options.span(name).unwrap_or_else(Span::call_site);
        let text = "a method is one of exposed, property, setter, on_connect and on_disconnect";
        return Err(syn::Error::new(span, text));
    }
    // A method with a name for peers is meant to be reached.
    Ok(role.or_else(|| options.has("name").then_some(Role::Exposed)))
}

fn name(options: &Options, role: Role, ident: &Ident) -> syn::Result<String> {
    if let Some(name) = options.text("name") {
        if matches!(role, Role::OnConnect | Role::OnDisconnect) {
            let text = "peers don't see this method: it needs no name";
            return Err(syn::Error::new(name.span(), text));
        }
        check_name(&name, false)?;
        return Ok(name.value());
    }
    let name = ident.unraw().to_string();
    if role != Role::Setter {
        return Ok(name);
    }
    match name.strip_prefix("set_") {
        Some(bare) if !bare.is_empty() => Ok(bare.to_owned()),
        _ => Err(syn::Error::new(
            ident.span(),
            "which attribute does it set? Call it `set_x`, or say `#[rpyc(setter, name = \"x\")]`",
        )),
    }
}

/// A private method has no options on its parameters either.
fn refuse_options(signature: &mut Signature) -> syn::Result<()> {
    for input in &mut signature.inputs {
        if let FnArg::Typed(parameter) = input
            && let Some(attribute) = parameter
                .attrs
                .iter()
                .find(|attribute| attribute.path().is_ident("rpyc"))
        {
            let text = "the method is not exposed: `#[rpyc(exposed)]` is missing";
            return Err(syn::Error::new_spanned(attribute, text));
        }
    }
    Ok(())
}

fn check_generics(signature: &Signature) -> syn::Result<()> {
    for parameter in &signature.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            let text = "a method that peers reach can't be generic: they tell no types";
            return Err(syn::Error::new_spanned(parameter, text));
        }
    }
    Ok(())
}

fn output_of(signature: &Signature) -> Span {
    match &signature.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => signature.ident.span(),
    }
}

fn receiver(signature: &Signature, role: Role) -> syn::Result<Receiver> {
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Ok(Receiver::None);
    };
    let text =
        "peers share the object: take `&self`, and keep what changes in a Mutex or an atomic";
    match &receiver.kind {
        ReceiverKind::Reference(_, _, None) => Ok(Receiver::Reference),
        ReceiverKind::Typed(_, ty) if is_shared_self(ty) => {
            if role != Role::Exposed {
                let text = "only `#[rpyc(exposed)]` methods can take the object as an `Arc`";
                return Err(syn::Error::new_spanned(ty, text));
            }
            if matches!(**ty, syn::Type::Reference(_)) {
                Ok(Receiver::SharedReference)
            } else {
                Ok(Receiver::Shared)
            }
        }
        _ => Err(syn::Error::new_spanned(receiver, text)),
    }
}

fn parameters(signature: &mut Signature) -> syn::Result<Vec<Parameter>> {
    let typed = signature.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(parameter) => Some(parameter),
        FnArg::Receiver(_) => None,
    });
    typed.map(Parameter::take_options).collect()
}
