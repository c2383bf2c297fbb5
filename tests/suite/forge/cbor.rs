//! A small writer of CBOR of its own: what the conventions want, and, piece by piece, what they forbid.

#![expect(clippy::big_endian_bytes, reason = "RFC 8949 writes numbers big end first")]

/// A value, as it will be written: nothing here checks that keys rise or that text is UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cbor {
    Unsigned(u64),
    /// -1 minus this.
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Cbor>),
    Map(Vec<(u64, Cbor)>),
    Bool(bool),
    /// These bytes as they are, which need not be CBOR.
    Raw(Vec<u8>),
}

/// The head of an item in its shortest form.
pub(crate) fn head(major: u8, argument: u64) -> Vec<u8> {
    let major = major << 5;
    match argument {
        0..24 => vec![major | argument as u8],
        24..0x100 => vec![major | 24, argument as u8],
        0x100..0x1_0000 => [&[major | 25][..], &(argument as u16).to_be_bytes()].concat(),
        0x1_0000..0x1_0000_0000 => [&[major | 26][..], &(argument as u32).to_be_bytes()].concat(),
        _ => long_head(major >> 5, argument),
    }
}

/// The head of an item in its longest form.
pub(crate) fn long_head(major: u8, argument: u64) -> Vec<u8> {
    [&[major << 5 | 27][..], &argument.to_be_bytes()].concat()
}

impl Cbor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Unsigned(number) => head(0, *number),
            Self::Negative(number) => head(1, *number),
            Self::Bytes(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Self::Text(text) => [head(3, text.len() as u64), text.clone().into_bytes()].concat(),
            Self::Array(items) => {
                let mut bytes = head(4, items.len() as u64);
                items.iter().for_each(|item| bytes.extend(item.encode()));
                bytes
            }
            Self::Map(entries) => {
                let mut bytes = head(5, entries.len() as u64);
                for (key, value) in entries {
                    bytes.extend(head(0, *key));
                    bytes.extend(value.encode());
                }
                bytes
            }
            Self::Bool(value) => vec![if *value { 0xf5 } else { 0xf4 }],
            Self::Raw(bytes) => bytes.clone(),
        }
    }

    /// The entries of a map.
    pub(crate) fn entries(&mut self) -> &mut Vec<(u64, Cbor)> {
        let Self::Map(entries) = self else { panic!("not a map: {self:?}") };
        entries
    }

    /// The items of an array.
    pub(crate) fn items(&mut self) -> &mut Vec<Cbor> {
        let Self::Array(items) = self else { panic!("not an array: {self:?}") };
        items
    }

    /// The value at a key of a map.
    pub(crate) fn at(&mut self, key: u64) -> &mut Cbor {
        let entries = self.entries().iter_mut();
        entries.map(|(known, value)| (*known, value)).find(|(known, _)| *known == key).expect("the key").1
    }
}
