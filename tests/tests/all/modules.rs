//! No crate of the workspace has a cycle between its modules.
//!
//! - A module is a file, or an inline `mod` block. Code under `#[cfg(test)]` does not count.
//! - Module A uses module B if A's code names an item of B: in a `use` tree, in a path that begins with `crate`, `self`,
//!   `super` or a child module, or through a module that A imported. Paths inside macro calls count.
//! - A module also uses a module that adds a method to its type, if it calls the method on `self`. An `impl` block may be in
//!   any module of a crate, so a path alone does not show this use.
//! - A child may use items of its parent or of another ancestor. It is then one unit with that ancestor, because neither
//!   works without the other.
//! - Apart from these uses, neither the modules nor the units may use each other in a cycle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, visit::Visit};
use walkdir::WalkDir;

/// A module's path within its crate; the root is empty.
type Module = Vec<String>;

#[test]
fn no_crate_has_a_cycle_between_its_modules() {
    let roots = crate_roots(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    assert!(roots.len() >= 9, "too few crates found: {roots:?}");
    let mut cycles = Vec::new();
    for root in roots {
        let sources = Sources::of_crate(&root);
        for cycle in sources.cycles() {
            cycles.push(format!("{}: {cycle}", root.display()));
        }
    }
    assert!(cycles.is_empty(), "modules use each other in a cycle:\n{}", cycles.join("\n"));
}

#[test]
fn a_cycle_is_found_however_the_path_is_written() {
    let leaf = "pub fn item() {}";
    for uses in [
        "use crate::b::item;",
        "use crate::{c, b::{self, item}};",
        "fn f() { crate::b::item() }",
        "fn f() { super::b::item() }",
        "use super::b; fn f() { b::item() }",
        "use crate::b as other; fn f() { other::item() }",
        "fn f() { println!(\"{}\", crate::b::item()) }",
        "use self::inner::f; mod inner { pub fn f() { super::super::b::item() } }",
        "fn f(x: Vec<crate::b::Item>) {}",
        "#[cfg(feature = \"x\")] use crate::b::item;",
    ] {
        let cycles =
            Sources::of_texts(&[("", leaf), ("a", uses), ("b", "use crate::a::item;"), ("c", leaf)]).cycles();
        assert_eq!(cycles.len(), 1, "{uses}");
        assert!(cycles[0].contains("uses b at"), "{uses}: {cycles:?}");
    }
    let method = [
        ("", leaf),
        ("a", "pub struct S<T>(T); impl<T> S<T> { fn f(&self) { self.go(); } }"),
        ("b", "use crate::a::S; impl<T> S<T> { pub fn go(&self) {} }"),
    ];
    assert_eq!(Sources::of_texts(&method).cycles(), ["a uses b at `.go()`; b uses a at `crate::a::S`"]);
    let indirect = [
        ("", leaf),
        ("a", "use crate::b::item;"),
        ("b", "use crate::c::item;"),
        ("c", "use crate::a::item;"),
    ];
    assert_eq!(Sources::of_texts(&indirect).cycles().len(), 1);
}

#[test]
fn a_child_that_uses_its_parent_is_one_unit_with_it() {
    let inside = [("", ""), ("a", "use self::child::item;"), ("a::child", "use super::item;")];
    assert_eq!(Sources::of_texts(&inside).cycles(), Vec::<String>::new());
    // `a::child` uses `a`, which uses `b`, which uses `a::child`.
    let through = [
        ("", ""),
        ("a", "use crate::b::item;"),
        ("a::child", "use super::item;"),
        ("b", "use crate::a::child::item;"),
    ];
    assert_eq!(Sources::of_texts(&through).cycles().len(), 1);
}

#[test]
fn modules_without_cycles_and_test_code_pass() {
    let sources = [
        ("", "use crate::a::item;"),
        ("a", "use crate::b::child::item; #[cfg(test)] mod tests { use crate::c::item; }"),
        ("b", "use crate::a::item;"),
        ("b::child", "use std::io;"),
        ("c", "use crate::a::item;"),
    ];
    assert_eq!(Sources::of_texts(&sources).cycles(), Vec::<String>::new());
}

/// The root file of each library, program, test, benchmark and example of the workspace.
fn crate_roots(workspace: &Path) -> Vec<PathBuf> {
    let is_source = |name: &str| name != "target" && name != "node_modules" && !name.starts_with('.');
    let folders = WalkDir::new(workspace).sort_by_file_name().into_iter();
    let manifests = folders
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name().to_str().is_some_and(is_source))
        .map(Result::unwrap)
        .filter(|entry| entry.file_name() == "Cargo.toml");
    let mut roots = Vec::new();
    for manifest in manifests {
        let package = manifest.path().parent().unwrap();
        roots.extend(["src/lib.rs", "src/main.rs"].map(|root| package.join(root)));
        for folder in ["tests", "benches", "examples"] {
            let entries = WalkDir::new(package.join(folder)).max_depth(2).sort_by_file_name().into_iter();
            roots.extend(entries.filter_map(Result::ok).map(walkdir::DirEntry::into_path).filter(|path| {
                let is_program = path.parent().is_some_and(|parent| parent.ends_with(folder));
                let is_rust = path.extension().is_some_and(|extension| extension == "rs");
                is_program && is_rust || path.ends_with("main.rs")
            }));
        }
    }
    roots.retain(|root| root.is_file());
    roots
}

/// The modules of one crate and what each uses.
#[derive(Default)]
struct Sources {
    modules: BTreeSet<Module>,
    files: Vec<(Module, Vec<Item>)>,
}

impl Sources {
    fn of_crate(root: &Path) -> Self {
        let mut sources = Self::default();
        sources.read(root, root.parent().unwrap(), Vec::new());
        sources
    }

    fn of_texts(texts: &[(&str, &str)]) -> Self {
        let mut sources = Self::default();
        for (module, text) in texts {
            let module: Module =
                module.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
            sources.add(module, syn::parse_file(text).unwrap().items, None);
        }
        sources
    }

    /// Reads a module's file; `folder` holds the files of its children.
    fn read(&mut self, file: &Path, folder: &Path, module: Module) {
        let text = fs::read_to_string(file).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(module, parsed.items, Some(folder));
    }

    fn add(&mut self, module: Module, items: Vec<Item>, folder: Option<&Path>) {
        self.modules.insert(module.clone());
        let mut own = Vec::new();
        for item in items {
            let Item::Mod(child) = item else {
                own.push(item);
                continue;
            };
            if is_test(&child.attrs) {
                continue;
            }
            let name = child.ident.to_string();
            let path = [&module[..], std::slice::from_ref(&name)].concat();
            match (child.content, folder) {
                (Some((_, items)), _) => {
                    self.add(path, items, folder.map(|folder| folder.join(name)).as_deref());
                }
                (None, Some(folder)) if path_attribute(&child.attrs).is_some() => {
                    // Relative to the folder of the file that declares it. Only crate roots have this here.
                    assert!(module.is_empty(), "#[path] outside a crate's root: {path:?}");
                    let file = folder.join(path_attribute(&child.attrs).unwrap());
                    self.read(&file, file.parent().unwrap(), path);
                }
                (None, Some(folder)) => {
                    let flat = folder.join(format!("{name}.rs"));
                    let file = if flat.is_file() { flat } else { folder.join(&name).join("mod.rs") };
                    self.read(&file, &folder.join(name), path);
                }
                (None, None) => {}
            }
        }
        self.files.push((module, own));
    }

    /// Returns which module uses which, each with one path as evidence.
    fn uses(&self) -> BTreeMap<(Module, Module), String> {
        let mut uses = BTreeMap::new();
        let (mut added, mut called) = (BTreeMap::new(), BTreeMap::new());
        for (module, items) in &self.files {
            let mut names = Names::new(self, module, &mut uses);
            // Imports first: they may follow the code that uses them.
            items.iter().for_each(|item| names.visit_item(item));
            items.iter().for_each(|item| names.visit_item(item));
            added.insert(module, names.added);
            called.insert(module, names.called);
        }
        for (module, methods) in added {
            for (owner, method) in methods {
                if called[&owner].contains(&method) {
                    uses.entry((owner, module.clone())).or_insert_with(|| format!(".{method}()"));
                }
            }
        }
        uses
    }

    /// Returns each cycle as the uses that form it.
    fn cycles(&self) -> Vec<String> {
        let uses = self.uses();
        let itself = |module: &Module| module.clone();
        let units = self.units(&uses);
        let mut cycles = cycles_of(&uses, itself);
        // A cycle between modules often is one between their units too.
        for cycle in cycles_of(&uses, |module| units[module].clone()) {
            if !cycles.iter().any(|known| known.iter().all(|line| cycle.contains(line))) {
                cycles.push(cycle);
            }
        }
        cycles.into_iter().map(|lines| lines.join("; ")).collect()
    }

    /// Returns the unit of each module: the highest ancestor that it, or a module between them, uses.
    fn units(&self, uses: &BTreeMap<(Module, Module), String>) -> BTreeMap<Module, Module> {
        let mut unit: BTreeMap<Module, Module> =
            self.modules.iter().map(|module| (module.clone(), module.clone())).collect();
        for (from, to) in uses.keys().filter(|(from, to)| from.len() > to.len() && from.starts_with(to)) {
            for length in to.len()..=from.len() {
                let joined = unit.get_mut(&from[..length]).unwrap();
                if joined.len() > to.len() {
                    joined.clone_from(to);
                }
            }
        }
        // A unit may itself be part of the unit of its own ancestor. Shorter paths come first, so one pass is enough.
        for module in &self.modules {
            let joined = unit[&unit[module]].clone();
            unit.insert(module.clone(), joined);
        }
        unit
    }

    /// Returns the longest prefix of an absolute path that is a module.
    fn module_of(&self, path: &[String]) -> Option<Module> {
        let found = (0..=path.len()).rev().find(|length| self.modules.contains(&path[..*length]));
        found.map(|length| path[..length].to_vec())
    }
}

fn shown(module: &Module) -> String {
    if module.is_empty() { "the crate's root".to_owned() } else { module.join("::") }
}

/// Returns each cycle between nodes as the uses that form it. `node` returns the node of a module. A child's use of an
/// ancestor does not count here.
fn cycles_of(
    uses: &BTreeMap<(Module, Module), String>,
    node: impl Fn(&Module) -> Module,
) -> Vec<Vec<String>> {
    let edges: Vec<(Module, Module, String)> = uses
        .iter()
        .filter(|((from, to), _)| !from.starts_with(to))
        .map(|((from, to), path)| {
            (node(from), node(to), format!("{} uses {} at `{path}`", shown(from), shown(to)))
        })
        .filter(|(from, to, _)| from != to)
        .collect();
    let mut graph: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (from, to, _) in &edges {
        graph.entry(from).or_default().insert(to);
    }
    let mut cycles = BTreeSet::new();
    for start in graph.keys() {
        let reached_back = |other: &&Module| reached(&graph, other).contains(start);
        let together: BTreeSet<&Module> = reached(&graph, start).into_iter().filter(reached_back).collect();
        if !together.is_empty() {
            cycles.insert(together);
        }
    }
    let inside = |together: &BTreeSet<&Module>| {
        let edges = edges.iter().filter(|(from, to, _)| together.contains(from) && together.contains(to));
        edges.map(|(_, _, line)| line.clone()).collect()
    };
    cycles.iter().map(inside).collect()
}

fn reached<'a>(graph: &BTreeMap<&'a Module, BTreeSet<&'a Module>>, start: &Module) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Module> = graph.get(start).into_iter().flatten().copied().collect();
    while let Some(module) = open.pop() {
        if reached.insert(module) {
            open.extend(graph.get(module).into_iter().flatten());
        }
    }
    reached
}

/// Returns whether there is `#[test]` or `#[cfg(test)]`, alone or with other conditions.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => {
            let mut tokens = list.tokens.clone().into_iter();
            list.path.is_ident("cfg") && tokens.any(|token| token.to_string() == "test")
        }
        syn::Meta::NameValue(_) => false,
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(file), .. }) => Some(file.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Collects which modules the code of one module uses.
struct Names<'a> {
    sources: &'a Sources,
    module: &'a Module,
    /// Modules imported by a `use`, by their local name.
    imported: BTreeMap<String, Module>,
    /// The modules of imported items, by the items' local names.
    items: BTreeMap<String, Module>,
    /// Methods that this module adds to another module's types: that module and the method's name.
    added: BTreeSet<(Module, String)>,
    /// Names of the methods that this module calls on `self`.
    called: BTreeSet<String>,
    /// User, used module, and one path as evidence.
    uses: &'a mut BTreeMap<(Module, Module), String>,
}

impl<'a> Names<'a> {
    fn new(
        sources: &'a Sources,
        module: &'a Module,
        uses: &'a mut BTreeMap<(Module, Module), String>,
    ) -> Self {
        Self {
            sources,
            module,
            imported: BTreeMap::new(),
            items: BTreeMap::new(),
            added: BTreeSet::new(),
            called: BTreeSet::new(),
            uses,
        }
    }

    fn path(&mut self, segments: &[String], local_name: Option<&str>) {
        let Some(absolute) = self.absolute(segments) else { return };
        let Some(to) = self.sources.module_of(&absolute) else { return };
        if let Some(name) = local_name {
            let known = if to == absolute { &mut self.imported } else { &mut self.items };
            known.insert(name.to_owned(), to.clone());
        }
        if to != *self.module {
            self.uses.entry((self.module.clone(), to)).or_insert_with(|| segments.join("::"));
        }
    }

    /// Returns the path from the crate's root; `None` for paths of other crates and for unresolved paths.
    fn absolute(&self, segments: &[String]) -> Option<Vec<String>> {
        let (first, remaining) = segments.split_first()?;
        let mut base = self.module.clone();
        match &**first {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop()?;
                let supers = remaining.iter().take_while(|name| *name == "super").count();
                base.truncate(base.len().checked_sub(supers)?);
                return Some([&base, &remaining[supers..]].concat());
            }
            name => {
                base.push(name.to_owned());
                if !self.sources.modules.contains(&base) {
                    base.clone_from(self.imported.get(name)?);
                    // The import of this item is counted already.
                    if remaining.is_empty() {
                        return None;
                    }
                }
            }
        }
        Some([&base, remaining].concat())
    }

    fn use_tree(&mut self, before: &[String], tree: &UseTree) {
        let joined = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.use_tree(&joined(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(before, item)),
            UseTree::Glob(_) => self.path(before, None),
            UseTree::Name(name) if name.ident == "self" => {
                self.path(before, before.last().map(String::as_str));
            }
            UseTree::Name(name) => self.path(&joined(&name.ident), Some(&name.ident.to_string())),
            UseTree::Rename(rename) if rename.ident == "self" => {
                self.path(before, Some(&rename.rename.to_string()));
            }
            UseTree::Rename(rename) => self.path(&joined(&rename.ident), Some(&rename.rename.to_string())),
        }
    }

    /// Finds paths in the arguments of a macro, which are not parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons < 2 {
                        self.path(&segments, None);
                        segments.clear();
                    }
                    segments.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.path(&segments, None);
                    segments.clear();
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(&segments, None);
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs[..],
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    /// `pub(crate)` and `pub(super)` use nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none()
            && let syn::Type::Path(own) = &*item.self_ty
            && let Some(module) =
                own.path.segments.last().and_then(|name| self.items.get(&name.ident.to_string()))
        {
            let methods = item.items.iter().filter_map(|item| match item {
                syn::ImplItem::Fn(method) => Some((module.clone(), method.sig.ident.to_string())),
                _ => None,
            });
            self.added.extend(methods);
        }
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_self = matches!(&*call.receiver, syn::Expr::Path(receiver) if receiver.path.is_ident("self"));
        if is_self {
            self.called.insert(call.method.to_string());
        }
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&segments, None);
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.visit_path(&invocation.path);
        self.tokens(invocation.tokens.clone());
    }
}
