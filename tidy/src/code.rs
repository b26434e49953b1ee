//! What a Rust file mentions: paths, method calls and macros, each with its line and whether it is test code.
//!
//! `use` trees are flattened (`use std::{fs, net::TcpStream}` mentions `std::fs` and `std::net::TcpStream`), and the
//! tokens inside macro calls are searched too, because `assert!(Instant::now() > then)` reads a clock like any other
//! code. Names are not resolved; a ban on a path therefore also bans importing it.

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One thing that the code names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mention {
    /// A path in an expression, type or import, without generic arguments.
    Path(Vec<String>),
    /// `.name(…)`.
    Method {
        /// Its name.
        name: String,
        /// How many arguments it is given.
        arguments: usize,
    },
    /// `name!(…)`.
    Macro(String),
}

/// A mention and where it stands.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What is named.
    pub mention: Mention,
    /// The line, counted from 1.
    pub line: usize,
    /// Whether it stands under `cfg(test)` or in a test function.
    pub in_test: bool,
}

impl Seen {
    /// The segments, when this is a path.
    #[must_use]
    pub fn path(&self) -> Option<Vec<&str>> {
        match &self.mention {
            Mention::Path(path) => Some(path.iter().map(String::as_str).collect()),
            Mention::Method { .. } | Mention::Macro(_) => None,
        }
    }
}

/// Everything that a file names, in the order of the text as far as `syn` keeps it.
#[must_use]
pub fn mentions(file: &syn::File) -> Vec<Seen> {
    let mut reader = Reader { seen: Vec::new(), tests: 0 };
    reader.visit_file(file);
    reader.seen
}

/// Whether an item with these attributes exists only for tests.
#[must_use]
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = attribute.path().segments.last().is_some_and(|segment| segment.ident == "test");
        is_test || is_cfg_test(attribute)
    })
}

/// Whether this is `#[cfg(test)]`.
#[must_use]
pub fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let list = attribute.meta.require_list().ok();
    list.is_some_and(|list| list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}

/// The file that `#[path = "…"]` names.
#[must_use]
pub fn path_attribute(attributes: &[syn::Attribute]) -> Option<&syn::LitStr> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path),
            _ => None,
        },
        _ => None,
    })
}

/// The attributes of an item that can be kept for tests alone.
#[must_use]
pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

struct Reader {
    seen: Vec<Seen>,
    /// How many enclosing items are for tests.
    tests: usize,
}

impl Reader {
    fn note(&mut self, mention: Mention, line: usize) {
        self.seen.push(Seen { mention, line, in_test: self.tests > 0 });
    }

    fn within(&mut self, for_tests: bool, visit: impl FnOnce(&mut Self)) {
        self.tests += usize::from(for_tests);
        visit(self);
        self.tests -= usize::from(for_tests);
    }

    fn flatten(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let extended = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.flatten(&path.tree, &extended(&path.ident)),
            // `use std::fs::{self}` names `std::fs`.
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.note(Mention::Path(prefix.to_vec()), name.ident.span().start().line);
            }
            syn::UseTree::Name(name) => {
                self.note(Mention::Path(extended(&name.ident)), name.ident.span().start().line);
            }
            syn::UseTree::Rename(rename) => {
                self.note(Mention::Path(extended(&rename.ident)), rename.ident.span().start().line);
            }
            syn::UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.note(Mention::Path([prefix, &["*".to_owned()]].concat()), line);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.flatten(tree, prefix)),
        }
    }

    /// Finds paths, method calls and macros in the tokens of a macro call, which `syn` does not parse.
    fn search(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(ident) => {
                    let (path, next) = path_at(&tokens, at);
                    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
                    let name = path.last().cloned().unwrap_or_default();
                    let line = ident.span().start().line;
                    if before.is_some_and(|token| is_punct(token, '.')) {
                        self.note(Mention::Method { name, arguments: arguments_at(&tokens, next) }, line);
                    } else if tokens.get(next).is_some_and(|token| is_punct(token, '!')) {
                        self.note(Mention::Macro(name), line);
                    } else {
                        self.note(Mention::Path(path), line);
                    }
                    at = next;
                }
                TokenTree::Group(group) => {
                    self.search(group.stream());
                    at += 1;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.within(is_for_tests(attributes(item)), |this| visit::visit_item(this, item));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.within(is_for_tests(&function.attrs), |this| visit::visit_impl_item_fn(this, function));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.flatten(&item.tree, &[]);
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {
        // Attributes call nothing; rules that judge them look at them directly.
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.note(Mention::Path(segments), line);
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = Mention::Method { name: call.method.to_string(), arguments: call.args.len() };
        self.note(method, call.method.span().start().line);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last() {
            self.note(Mention::Macro(name.ident.to_string()), name.ident.span().start().line);
        }
        self.visit_path(&call.path);
        self.search(call.tokens.clone());
    }
}

/// The path that starts at the identifier `at`, and the position after it.
fn path_at(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let mut path = vec![tokens[at].to_string()];
    let mut next = at + 1;
    while let [TokenTree::Punct(first), TokenTree::Punct(second), TokenTree::Ident(ident), ..] =
        &tokens[next..]
        && first.as_char() == ':'
        && first.spacing() == Spacing::Joint
        && second.as_char() == ':'
    {
        path.push(ident.to_string());
        next += 3;
    }
    (path, next)
}

/// How many arguments the call has whose parentheses stand at `at`: commas between arguments, a final one aside.
fn arguments_at(tokens: &[TokenTree], at: usize) -> usize {
    let Some(TokenTree::Group(group)) = tokens.get(at) else { return 0 };
    let inside: Vec<_> = group.stream().into_iter().collect();
    inside.split(|token| is_punct(token, ',')).filter(|argument| !argument.is_empty()).count()
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let file = syn::parse_file(text).unwrap();
        mentions(&file).iter().filter_map(Seen::path).map(|path| path.join("::")).collect()
    }

    #[test]
    fn use_trees_are_flattened() {
        let text = "use std::{fs::{self, File}, net as network, time::*};";
        assert_eq!(paths(text), ["std::fs", "std::fs::File", "std::net", "std::time::*"]);
    }

    #[test]
    fn macro_arguments_are_searched() {
        let file = syn::parse_file("fn f() { assert!(Instant::now() > x.unwrap(), \"{}\", vec![todo!()]); }")
            .unwrap();
        let seen: Vec<_> = mentions(&file).into_iter().map(|seen| seen.mention).collect();
        assert!(seen.contains(&Mention::Path(vec!["Instant".into(), "now".into()])), "{seen:?}");
        assert!(seen.contains(&Mention::Method { name: "unwrap".into(), arguments: 0 }), "{seen:?}");
        assert!(seen.contains(&Mention::Macro("todo".into())), "{seen:?}");
    }

    #[test]
    fn test_code_is_told_from_the_rest() {
        let text = "fn live() { a() } #[cfg(test)] mod tests { fn helper() { b() } } #[tokio::test] async fn t() { c() }";
        let file = syn::parse_file(text).unwrap();
        let in_test = |name: &str| {
            let named = |seen: &Seen| seen.path().is_some_and(|path| path == [name]);
            mentions(&file).into_iter().find(named).map(|seen| seen.in_test)
        };
        assert_eq!([in_test("a"), in_test("b"), in_test("c")], [Some(false), Some(true), Some(true)]);
    }
}
