//! A program on disk: its functions by name and address, and where its pointers lead.
//!
//! A call between crates goes through a slot of the global offset table that the loader fills. What
//! it will write there stands in the relocations, so the slot is followed like a direct call.

use std::collections::{BTreeMap, HashMap};

use object::{
    Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget, SymbolKind,
};

/// The code of one function.
pub(crate) struct Code<'a> {
    pub(crate) start: u64,
    pub(crate) bytes: &'a [u8],
}

struct Symbol {
    names: Vec<String>,
    size: u64,
}

/// Where a slot of the offset table leads.
enum Slot {
    Address(u64),
    /// Into a library, by name.
    Imported(String),
}

pub(crate) struct Image {
    sections: Vec<(u64, Vec<u8>)>,
    functions: BTreeMap<u64, Symbol>,
    slots: HashMap<u64, Slot>,
}

impl Image {
    /// Reads an executable that still has its symbols.
    pub(crate) fn read(program: &[u8]) -> Result<Image, String> {
        let file = object::File::parse(program).map_err(|error| error.to_string())?;
        let mut image = Image {
            sections: Vec::new(),
            functions: BTreeMap::new(),
            slots: slots(&file),
        };
        for section in file.sections() {
            if section.kind() == object::SectionKind::Text {
                let bytes = section.data().map_err(|error| error.to_string())?;
                image.sections.push((section.address(), bytes.to_vec()));
            }
        }
        let texts = file.symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.size() > 0
        });
        for symbol in texts {
            let name = plain(symbol.name().unwrap_or_default());
            let (names, size) = (Vec::new(), symbol.size());
            let entry = image.functions.entry(symbol.address());
            entry.or_insert(Symbol { names, size }).names.push(name);
        }
        if image.functions.is_empty() {
            return Err("the program has no symbols; build it without `strip`".into());
        }
        Ok(image)
    }

    /// Where the function `name` begins, if it is the only one. There are several where one was compiled
    /// for several types, since names are without type arguments ([`plain`]).
    pub(crate) fn start(&self, name: &str) -> Option<u64> {
        let is_named = |symbol: &Symbol| symbol.names.iter().any(|known| known == name);
        let mut found = self.functions.iter().filter(|(_, symbol)| is_named(symbol));
        let (&start, _) = found.next()?;
        found.next().is_none().then_some(start)
    }

    /// The code of the function that begins at `start`.
    pub(crate) fn code(&self, start: u64) -> Option<Code<'_>> {
        let symbol = self.functions.get(&start)?;
        let (base, bytes) = self
            .sections
            .iter()
            .find(|(base, bytes)| (*base..base + bytes.len() as u64).contains(&start))?;
        let offset = (start - base) as usize;
        let bytes = bytes.get(offset..offset + symbol.size as usize)?;
        Some(Code { start, bytes })
    }

    /// The names of the function that begins at `address`. Functions with equal code may share one.
    pub(crate) fn names_at(&self, address: u64) -> Vec<String> {
        match self.functions.get(&address) {
            Some(symbol) => symbol.names.clone(),
            None => vec![format!("{address:#x}, which has no symbol")],
        }
    }

    /// The names of what the slot at `address` leads to.
    pub(crate) fn names_in_slot(&self, address: u64) -> Vec<String> {
        match self.slots.get(&address) {
            Some(Slot::Address(target)) => self.names_at(*target),
            Some(Slot::Imported(name)) => vec![name.clone()],
            None => vec![format!("whatever {address:#x} holds")],
        }
    }

    /// Where the slot at `address` leads, if that is in the program.
    pub(crate) fn address_in_slot(&self, address: u64) -> Option<u64> {
        match self.slots.get(&address) {
            Some(Slot::Address(target)) => Some(*target),
            _ => None,
        }
    }
}

fn slots(file: &object::File<'_>) -> HashMap<u64, Slot> {
    let symbols = file.dynamic_symbol_table();
    let slot = |target, addend: i64| match target {
        RelocationTarget::Symbol(index) => {
            let symbol = symbols.as_ref()?.symbol_by_index(index).ok()?;
            Some(Slot::Imported(plain(symbol.name().ok()?)))
        }
        RelocationTarget::Absolute => Some(Slot::Address(addend as u64)),
        _ => None,
    };
    let relocations = file.dynamic_relocations().into_iter().flatten();
    relocations
        .filter_map(|(at, relocation)| Some((at, slot(relocation.target(), relocation.addend())?)))
        .collect()
}

/// A name as people write it, without the hash that tells builds apart and without type arguments,
/// which one way of mangling keeps and the other drops.
fn plain(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    let (mut plain, mut depth, mut rest) = (String::new(), 0_usize, &name[..]);
    while let Some(next) = rest.chars().next() {
        let begins = depth == 0 && rest.starts_with("::<");
        let step = if begins { 3 } else { next.len_utf8() };
        match next {
            _ if begins => depth = 1,
            '<' if depth > 0 => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            _ => plain.push(next),
        }
        rest = &rest[step..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{Image, Symbol, plain};

    #[test]
    fn a_name_that_several_functions_share_says_nothing_about_where_one_begins() {
        let symbol = |name: &str| Symbol {
            names: vec![name.into()],
            size: 1,
        };
        let image = Image {
            sections: vec![(0x10, vec![0x90, 0xc3, 0xc3])],
            functions: [
                (0x10, symbol("f")),
                (0x11, symbol("g")),
                (0x12, symbol("f")),
            ]
            .into(),
            slots: Default::default(),
        };
        let starts = ["f", "g", "h"].map(|name| image.start(name));
        assert_eq!(starts, [None, Some(0x11), None]);
        assert_eq!(image.code(0x11).unwrap().bytes, [0xc3]);
    }

    #[test]
    fn names_lose_their_type_arguments_and_keep_their_types() {
        assert_eq!(plain("a::f::<u32, Vec<u8>>"), "a::f");
        assert_eq!(plain("a::S::<T>::f"), "a::S::f");
        assert_eq!(plain("<a::S<T> as b::D>::f"), "<a::S<T> as b::D>::f");
    }
}
