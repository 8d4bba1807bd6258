//! What a type looks like. A macro sees how a type is written, not what it is: an alias of `Option`
//! is a type like others.

use quote::quote;
use syn::{GenericArgument, PathArguments, Type, TypePath, TypeReference};

/// Whether the last part of the path is `name`: `Args`, `rpyc::Args`.
pub(crate) fn is_named(ty: &Type, name: &str) -> bool {
    path_of(ty)
        .and_then(|path| path.path.segments.last())
        .is_some_and(|last| last.ident == name)
}

/// `Option<T>`.
pub(crate) fn is_option(ty: &Type) -> bool {
    is_named(ty, "Option")
}

/// `&Connection`.
pub(crate) fn is_connection(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if is_named(&reference.elem, "Connection"))
}

/// `Arc<Self>` or `&Arc<Self>`, as the type of a receiver.
pub(crate) fn is_shared_self(ty: &Type) -> bool {
    let ty = match ty {
        Type::Reference(reference) => &reference.elem,
        other => other,
    };
    let Some(last) = path_of(ty).and_then(|path| path.path.segments.last()) else {
        return false;
    };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return false;
    };
    last.ident == "Arc"
        && matches!(arguments.args.first(), Some(GenericArgument::Type(ty)) if is_named(ty, "Self"))
}

/// The type that owns what a reference borrows: what is taken out of a value to be lent to a method.
pub(crate) fn owned(reference: &TypeReference) -> proc_macro2::TokenStream {
    match &*reference.elem {
        ty if is_named(ty, "str") => quote!(::std::string::String),
        Type::Slice(slice) if is_named(&slice.elem, "u8") => quote!(::rpyc::__macros::Bytes),
        Type::Slice(slice) => {
            let item = &slice.elem;
            quote!(::std::vec::Vec<#item>)
        }
        other => quote!(#other),
    }
}

fn path_of(ty: &Type) -> Option<&TypePath> {
    match ty {
        Type::Path(path) => Some(path),
        Type::Group(group) => path_of(&group.elem),
        Type::Paren(paren) => path_of(&paren.elem),
        _ => None,
    }
}
