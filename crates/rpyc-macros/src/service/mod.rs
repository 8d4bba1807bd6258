//! `#[rpyc::service]`: the methods of an `impl` block to an implementation of `Object`.

mod member;
mod parameter;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{ImplItem, ItemImpl, LitStr, Type};

use crate::options::{Known, Options, check_name, docs};
use member::{Member, Receiver, Role};

/// What only the compiler can see is its error, at the type.
///
/// ```compile_fail,E0277
/// struct Service;
/// #[rpyc::service]
/// impl Service {
///     #[rpyc(exposed)]
///     fn f(&self, thread: std::thread::Thread) {}
/// }
/// ```
///
/// ```compile_fail,E0277
/// struct Service;
/// #[rpyc::service]
/// impl Service {
///     #[rpyc(property)]
///     fn f(&self) -> std::thread::Thread {
///         std::thread::current()
///     }
/// }
/// ```
///
/// So is what is wrong with the methods that are compiled, of those with conditions.
///
/// ```compile_fail
/// struct Service;
/// #[rpyc::service]
/// impl Service {
///     #[rpyc(exposed)]
///     fn f(&self) {}
///     #[cfg(any(unix, not(unix)))]
///     #[rpyc(name = "f")]
///     fn g(&self) {}
/// }
/// ```
#[cfg(doctest)]
struct TypeErrors;

/// The block without its options, and the implementation of `Object`.
///
/// # Errors
/// What can't be exposed, where it stands.
pub(crate) fn expand(options: TokenStream, mut block: ItemImpl) -> syn::Result<TokenStream> {
    let options = Options::of_macro(options, &[Known::Text("name")])?;
    if let Some((path, _)) = &block.trait_ {
        let text = "#[rpyc::service] goes on the type's own block: `impl Calculator { .. }`";
        return Err(syn::Error::new_spanned(path, text));
    }
    let mut members = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            members.extend(Member::take(function)?);
        }
    }
    let conflicts = conflicts(&members)?;
    let class = class_name(&options, &block.self_ty)?;
    let object = object(&block, &class, &members);
    let (generics, _, bounds) = block.generics.split_for_impl();
    let ty = &block.self_ty;
    Ok(quote! {
        #block

        #conflicts

        #object

        #[automatically_derived]
        impl #generics ::rpyc::IntoValue for #ty #bounds {
            fn into_value(self) -> ::rpyc::Value {
                ::rpyc::Value::Object(::std::sync::Arc::new(self))
            }
        }
    })
}

/// One name must lead to one thing: a setter and its property share theirs. Where that depends on what is
/// compiled, the compiler is told what would be wrong when.
///
/// # Errors
/// What is wrong in any case.
fn conflicts(members: &[Member]) -> syn::Result<TokenStream> {
    let mut conflicts = TokenStream::new();
    let mut note = |member: &Member, is_always: bool, when: TokenStream, text: String| {
        let span = member.ident.span();
        if is_always {
            return Err(syn::Error::new(span, text));
        }
        conflicts.extend(quote_spanned!(span=> #[cfg(#when)] ::std::compile_error!(#text);));
        Ok(())
    };
    for (index, member) in members.iter().enumerate() {
        let here = member.conditions.predicate();
        for before in members.iter().take(index) {
            if is_same(before, member) {
                let text = match member.role {
                    Role::OnConnect => "a second on_connect".to_owned(),
                    Role::OnDisconnect => "a second on_disconnect".to_owned(),
                    _ => format!("`{}` is exposed twice", member.name),
                };
                let there = before.conditions.predicate();
                let is_always = before.conditions.is_empty() && member.conditions.is_empty();
                note(member, is_always, quote!(all(#there, #here)), text)?;
            }
        }
        if member.role != Role::Setter {
            continue;
        }
        let is_its = |other: &&Member| other.role == Role::Property && other.name == member.name;
        let properties: Vec<_> = members.iter().filter(is_its).collect();
        if properties.iter().all(|other| !other.conditions.is_empty()) {
            let text = format!(
                "a setter of `{0}` needs a `#[rpyc(property)]` named `{0}` in the same block",
                member.name
            );
            let there = properties.iter().map(|other| other.conditions.predicate());
            let when = quote!(all(#here, not(any(#(#there),*))));
            note(member, properties.is_empty(), when, text)?;
        }
    }
    Ok(conflicts)
}

/// Whether peers, or the connection, could not tell one from the other.
fn is_same(one: &Member, other: &Member) -> bool {
    let is_setter = |member: &Member| member.role == Role::Setter;
    let is_hook = |member: &Member| matches!(member.role, Role::OnConnect | Role::OnDisconnect);
    if is_hook(one) || is_hook(other) {
        return one.role == other.role;
    }
    one.name == other.name && is_setter(one) == is_setter(other)
}

/// The class as peers see it: an expression of type `&'static str`.
fn class_name(options: &Options, ty: &Type) -> syn::Result<TokenStream> {
    if let Some(name) = options.text("name") {
        check_name(&name, true)?;
        return Ok(quote!(#name));
    }
    let Type::Path(path) = ty else {
        return Err(syn::Error::new_spanned(
            ty,
            "name the class: #[rpyc::service(name = \"module.Class\")]",
        ));
    };
    let name = path.path.segments.last().map(|last| last.ident.to_string());
    let name = name.unwrap_or_default();
    Ok(quote! {{
        static NAME: ::std::sync::LazyLock<::std::string::String> =
            ::std::sync::LazyLock::new(|| ::rpyc::__macros::dotted(::std::module_path!(), #name));
        NAME.as_str()
    }})
}

fn object(block: &ItemImpl, class: &TokenStream, members: &[Member]) -> TokenStream {
    let (generics, _, bounds) = block.generics.split_for_impl();
    let ty = &block.self_ty;
    let doc = docs(&block.attrs).map(|doc| {
        quote! {
            fn doc(&self) -> ::std::option::Option<::std::borrow::Cow<'static, str>> {
                ::std::option::Option::Some(::std::borrow::Cow::Borrowed(#doc))
            }
        }
    });
    let of = |role: Role| members.iter().filter(move |member| member.role == role);
    let methods = of(Role::Exposed).map(|member| {
        let (conditions, name) = (&member.conditions, &member.name);
        match &member.doc {
            Some(doc) => quote!(#conditions ::rpyc::Method::documented(#name, #doc)),
            None => quote!(#conditions ::rpyc::Method::new(#name)),
        }
    });
    let properties = of(Role::Property).map(|member| {
        let (conditions, name) = (&member.conditions, &member.name);
        quote!(#conditions ::std::borrow::Cow::Borrowed(#name))
    });
    let attribute = attribute(members);
    let set_attribute = set_attribute(members);
    let calls = calls(members);
    let on_connect = of(Role::OnConnect).map(|member| {
        let conditions = &member.conditions;
        let call = member.call_with_connection();
        quote! {
            #conditions
            fn on_connect(
                &self,
                conn: &::rpyc::Connection,
            ) -> ::std::result::Result<(), ::rpyc::Exception> {
                ::rpyc::IntoOutcome::into_outcome(#call).map(|_| ())
            }
        }
    });
    let on_disconnect = of(Role::OnDisconnect).map(|member| {
        let conditions = &member.conditions;
        let call = member.call_with_connection();
        quote! {
            #conditions
            fn on_disconnect(&self, conn: &::rpyc::Connection) {
                let () = #call;
            }
        }
    });
    quote! {
        #[automatically_derived]
        #[allow(unused_variables, reason = "what a method does not take")]
        impl #generics ::rpyc::Object for #ty #bounds {
            fn class_name(&self) -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(#class)
            }
            #doc
            fn methods(&self) -> ::std::vec::Vec<::rpyc::Method> {
                ::std::vec::Vec::from([#(#methods),*])
            }
            fn properties(&self) -> ::std::vec::Vec<::std::borrow::Cow<'static, str>> {
                ::std::vec::Vec::from([#(#properties),*])
            }
            #attribute
            #set_attribute
            #calls
            #(#on_connect)*
            #(#on_disconnect)*
        }
    }
}

fn attribute(members: &[Member]) -> TokenStream {
    let arms = members.iter().filter_map(|member| {
        let (conditions, name) = (&member.conditions, &member.name);
        match member.role {
            Role::Exposed => Some(quote! {
                #conditions
                #name => ::std::result::Result::Ok(::rpyc::Member::Method),
            }),
            Role::Property => {
                let call = member.call_with_connection();
                let read = quote_spanned! {member.output=>
                    ::rpyc::IntoOutcome::into_outcome(#call)
                };
                Some(quote!(#conditions #name => #read.map(::rpyc::Member::Value),))
            }
            _ => None,
        }
    });
    quote! {
        fn attribute(
            &self,
            conn: &::rpyc::Connection,
            name: &str,
        ) -> ::std::result::Result<::rpyc::Member, ::rpyc::Exception> {
            match name {
                #(#arms)*
                _ => ::std::result::Result::Err(::rpyc::Exception::no_attribute(
                    &::rpyc::Object::class_name(self),
                    name,
                )),
            }
        }
    }
}

fn set_attribute(members: &[Member]) -> Option<TokenStream> {
    let setters = members.iter().filter(|member| member.role == Role::Setter);
    let arms: Vec<_> = setters
        .map(|member| {
            let (conditions, name) = (&member.conditions, &member.name);
            let bind = member.bind();
            let call = member.call();
            quote! {
                #conditions
                #name => {
                    let args = ::rpyc::Args::new(::std::vec![value]);
                    match #bind {
                        ::std::result::Result::Ok(bound) => {
                            #call.map(|_| ())
                        }
                        ::std::result::Result::Err(error) => ::std::result::Result::Err(error),
                    }
                }
            }
        })
        .collect();
    if arms.is_empty() {
        return None;
    }
    Some(quote! {
        fn set_attribute(
            &self,
            conn: &::rpyc::Connection,
            name: &str,
            value: ::rpyc::Value,
        ) -> ::std::result::Result<(), ::rpyc::Exception> {
            match name {
                #(#arms)*
                _ => ::std::result::Result::Err(::rpyc::__macros::not_settable(self, name)),
            }
        }
    })
}

/// `call_method`, and `call_shared` where a method needs the `Arc` that the object is in.
fn calls(members: &[Member]) -> TokenStream {
    let exposed = || members.iter().filter(|member| member.role == Role::Exposed);
    let (shared, plain): (Vec<_>, Vec<_>) = exposed().partition(|member| member.is_shared());
    let arm = |member: &&Member| {
        let conditions = &member.conditions;
        let name = LitStr::new(&member.name, member.ident.span());
        let bind = member.bind();
        let call = member.call();
        quote! {
            #conditions
            #name => match #bind {
                ::std::result::Result::Ok(bound) => #call,
                ::std::result::Result::Err(error) => ::rpyc::Reply::raise(error),
            },
        }
    };
    let plain = plain.iter().map(arm);
    let elsewhere = shared.iter().map(|member| {
        let (conditions, name) = (&member.conditions, &member.name);
        quote! {
            #conditions
            #name => ::rpyc::Reply::raise(::rpyc::__macros::only_shared(name)),
        }
    });
    let has_shared = !shared.is_empty();
    let elsewhere = elsewhere.collect::<TokenStream>();
    let shared = shared.iter().map(arm);
    let call_shared = has_shared.then(|| {
        quote! {
            fn call_shared(
                self: ::std::sync::Arc<Self>,
                conn: &::rpyc::Connection,
                name: &str,
                args: ::rpyc::Args,
            ) -> ::rpyc::Reply {
                match name {
                    #(#shared)*
                    _ => ::rpyc::Object::call_method(&*self, conn, name, args),
                }
            }
        }
    });
    quote! {
        fn call_method(
            &self,
            conn: &::rpyc::Connection,
            name: &str,
            args: ::rpyc::Args,
        ) -> ::rpyc::Reply {
            match name {
                #(#plain)*
                #elsewhere
                _ => ::rpyc::Reply::raise(::rpyc::Exception::no_attribute(
                    &::rpyc::Object::class_name(self),
                    name,
                )),
            }
        }
        #call_shared
    }
}

/// How the object is passed to a method.
fn receiver_of(receiver: Receiver) -> Option<TokenStream> {
    match receiver {
        Receiver::None => None,
        Receiver::Reference | Receiver::Shared => Some(quote!(self)),
        Receiver::SharedReference => Some(quote!(&self)),
    }
}
