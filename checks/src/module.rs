//! The modules of a crate, a file each, and who imports whom.
//!
//! ```text
//!   Tree::read(src)    files  ──>  Module: its children, its names, the paths that its code names
//!   Tree::imports()    a path ──>  the module that owns what it names, through every re-export on the way
//!   circles(imports)   a shortest circle through each knot of modules that import one another
//! ```
//!
//! Promises: what is compiled for tests alone is left out; a module and those declared below it are one whole, so what it takes from
//! them is no import, while what they take from it is; paths inside a macro's arguments count like any other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// The modules below the root of a library or a program.
#[derive(Debug)]
pub struct Tree {
    modules: BTreeMap<Name, Module>,
}

/// A module as seen from the root: `crate::a::b` is `[a, b]`.
type Name = Vec<String>;
/// A path as it is written.
type Words = Vec<String>;
/// Who imports whom, by file, and the words that do it.
pub type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    items: BTreeSet<String>,
    /// The names that `use` brings in, and what they stand for.
    aliases: BTreeMap<String, Words>,
    /// What `use …::*` brings in.
    globs: Vec<Words>,
    /// The paths that the code names, each once.
    named: BTreeSet<Words>,
}

impl Tree {
    /// Reads the module tree that hangs on a `lib.rs` or `main.rs`.
    ///
    /// # Panics
    /// If a file is missing or is no Rust.
    pub fn read(root: &Path) -> Self {
        let mut tree = Self { modules: BTreeMap::new() };
        let folder = root.parent().expect("a file lies in a folder").to_owned();
        tree.read_file(Vec::new(), root, &folder);
        tree
    }

    /// Who imports whom, and by which words. A module is its file, those written inside it included.
    pub fn imports(&self) -> Imports {
        let mut all = Imports::new();
        for (name, module) in &self.modules {
            for words in &module.named {
                let Some(found) = self.find(name, words, DEEPEST) else { continue };
                let target = &self.modules[&found].file;
                let is_within = found.starts_with(name) || *target == module.file;
                if !is_within {
                    let of_module = all.entry(module.file.clone()).or_default();
                    let shown = of_module.entry(target.clone()).or_insert_with(|| words.join("::"));
                    // A path from the root or from above says more than one that begins with what was imported.
                    if is_from_above(words) {
                        *shown = words.join("::");
                    }
                }
            }
        }
        all
    }

    /// `folder` is where the files of the children lie.
    fn read_file(&mut self, name: Name, file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
        self.read_items(name, &parsed.items, file, folder);
    }

    fn read_items(&mut self, name: Name, items: &[Item], file: &Path, folder: &Path) {
        let mut reader = Reader { module: Module { file: file.to_owned(), ..Module::default() } };
        for item in items {
            if let Some(own) = item_name(item) {
                reader.module.items.insert(own);
            }
            match item {
                Item::Mod(child) if !for_tests(&child.attrs) => self.read_child(&name, child, file, folder),
                Item::Mod(_) => {}
                item => reader.visit_item(item),
            }
        }
        self.modules.insert(name, reader.module);
    }

    fn read_child(&mut self, parent: &[String], child: &ItemMod, file: &Path, folder: &Path) {
        let own = child.ident.to_string();
        let name = [parent, std::slice::from_ref(&own)].concat();
        let folder_of_child = folder.join(&own);
        if let Some((_, items)) = &child.content {
            return self.read_items(name, items, file, &folder_of_child);
        }
        let candidates = [folder.join(format!("{own}.rs")), folder_of_child.join("mod.rs")];
        let found = candidates.iter().find(|path| path.exists());
        let found = found.unwrap_or_else(|| panic!("{} declares {own}, which has no file", file.display()));
        self.read_file(name, found, &folder_of_child);
    }

    /// The module that owns what a path names; `None` for what is outside the crate.
    fn find(&self, at: &[String], words: &[String], depth: usize) -> Option<Name> {
        let (first, rest) = words.split_first()?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => at.to_vec(),
            "super" => at[..at.len().checked_sub(1)?].to_vec(),
            _ => return self.step(at, first, rest, depth),
        };
        self.walk(start, rest, depth)
    }

    fn walk(&self, at: Name, words: &[String], depth: usize) -> Option<Name> {
        match words.split_first() {
            None => Some(at),
            Some((first, rest)) if first == "super" => {
                self.walk(at[..at.len().checked_sub(1)?].to_vec(), rest, depth)
            }
            Some((first, rest)) => match self.step(&at, first, rest, depth) {
                Some(found) => Some(found),
                // A name from outside that is handed out here is nobody's in the crate.
                None if self.modules[&at].aliases.contains_key(first) => None,
                None => Some(at),
            },
        }
    }

    /// Goes on from a module by one of its names: a child, an item of its own, what `use` brought in.
    fn step(&self, at: &[String], first: &String, rest: &[String], depth: usize) -> Option<Name> {
        let depth = depth.checked_sub(1)?;
        let child = [at, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.walk(child, rest, depth);
        }
        let module = &self.modules[at];
        if module.items.contains(first) {
            return Some(at.to_vec());
        }
        if let Some(alias) = module.aliases.get(first) {
            let words = [alias.as_slice(), rest].concat();
            return if alias[0] == *first { None } else { self.find(at, &words, depth) };
        }
        module.globs.iter().find_map(|glob| {
            let from = self.find(at, glob, depth)?;
            self.step(&from, first, rest, depth)
        })
    }
}

/// The modules that import one another, each knot shown by a shortest circle through it: `file by words`, in order.
pub fn circles(imports: &Imports) -> Vec<Vec<(PathBuf, String)>> {
    let mut shown: BTreeSet<&Path> = BTreeSet::new();
    let mut all = Vec::new();
    for start in imports.keys() {
        if shown.contains(start.as_path()) {
            continue;
        }
        if let Some(circle) = shortest(imports, start) {
            shown.extend(circle.iter().map(|file| file.as_path()));
            let next = circle.iter().cycle().skip(1);
            let steps = circle.iter().zip(next);
            all.push(steps.map(|(from, to)| ((*from).clone(), imports[*from][*to].clone())).collect());
        }
    }
    all
}

/// The shortest way from a module back to itself.
fn shortest<'a>(imports: &'a Imports, start: &'a PathBuf) -> Option<Vec<&'a PathBuf>> {
    let mut came_from: BTreeMap<&PathBuf, &PathBuf> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let back = std::iter::successors(Some(file), |file| came_from.get(*file).copied());
                let mut circle: Vec<&PathBuf> = back.collect();
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, file);
                waiting.push_back(next);
            }
        }
    }
    None
}

/// Collects what the code of one module names.
struct Reader {
    module: Module,
}

impl Reader {
    fn read_use(&mut self, tree: &UseTree, before: &[String]) {
        let with = |own: &syn::Ident| [before, &[own.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.read_use(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.read_use(tree, before)),
            UseTree::Glob(_) => {
                self.module.globs.push(before.to_vec());
                self.module.named.insert(before.to_vec());
            }
            UseTree::Name(name) if name.ident == "self" => self.read_name(before.last(), before.to_vec()),
            UseTree::Name(name) => self.read_name(Some(&name.ident.to_string()), with(&name.ident)),
            UseTree::Rename(rename) => self.read_name(Some(&rename.rename.to_string()), with(&rename.ident)),
        }
    }

    fn read_name(&mut self, own: Option<&String>, words: Words) {
        if let Some(own) = own {
            self.module.aliases.insert(own.clone(), words.clone());
        }
        self.module.named.insert(words);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if !matches!(item, syn::ImplItem::Fn(function) if for_tests(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.read_use(&item.tree, &[]);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {
        // `pub(in crate::a)` names a module and imports nothing.
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.module.named.insert(path.segments.iter().map(|one| one.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let text = call.tokens.to_string().replace(" ::", "::").replace(":: ", "::");
        let is_other = |letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':');
        for path in text.split(is_other).filter(|word| word.contains("::")) {
            let words: Words = path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect();
            if words.len() > 1 {
                self.module.named.insert(words);
            }
        }
        visit::visit_macro(self, call);
    }
}

fn is_from_above(words: &[String]) -> bool {
    ["crate", "super"].contains(&words[0].as_str())
}

fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn item_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// More re-exports than this lead from a name to its owner nowhere.
const DEEPEST: usize = 16;
