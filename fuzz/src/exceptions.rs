//! The bodies of exception messages.

use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::{Reader, Writer};

use crate::tree::{self, Tree};

/// What is read as an exception has the documented shape, and is written as the same exception.
///
/// # Panics
/// It has another shape, or another exception is written.
pub fn check(data: &[u8]) {
    let mut reader: Reader<'_> = Reader::new(data);
    let Ok(read) = Vinegar::read(&mut reader) else {
        return;
    };
    let body = &data[..reader.position()];
    if let Some((tree, _)) = tree::decode(body) {
        assert!(fits(&tree, &read), "{tree:?} was read as {read:?}");
    }
    let mut out = Writer::<()>::new();
    read.write(&mut out);
    let written = out.into_payload().head;
    let mut again: Reader<'_> = Reader::new(&written);
    assert_eq!(Vinegar::read(&mut again), Ok(read));
    assert_eq!(again.position(), written.len());
}

fn fits(tree: &Tree, read: &Vinegar<'_>) -> bool {
    match (tree, read) {
        (Tree::Int(one), Vinegar::StopIteration) => one == "1",
        (Tree::Bool(true), Vinegar::StopIteration) => true,
        (Tree::Str(text), Vinegar::Text(read)) => text == read,
        (
            Tree::Tuple(items),
            Vinegar::Exception {
                module,
                name,
                args,
                attributes,
                traceback,
            },
        ) => {
            let class = [
                Tree::Str((*module).to_owned()),
                Tree::Str((*name).to_owned()),
            ];
            let part = |encoded| tree::decode(encoded).map(|(tree, _)| tree);
            items[..]
                == [
                    Tree::Tuple(class.to_vec()),
                    part(args).unwrap_or(Tree::None),
                    part(attributes).unwrap_or(Tree::None),
                    Tree::Str((*traceback).to_owned()),
                ]
        }
        _ => false,
    }
}
