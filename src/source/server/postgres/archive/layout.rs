//! Which fields a header and an entry consist of, and since which layout.

use super::field::Kind;

/// Since this layout, entries name the way in which a table is stored.
const ACCESS_METHOD_SINCE: u8 = 14;
/// Since this layout, compression is an algorithm's number; it was a level before.
const ALGORITHM_SINCE: u8 = 15;
/// Since this layout, entries say what kind of relation they are.
const RELATION_KIND_SINCE: u8 = 16;

/// A field of the header.
#[derive(Clone, Copy)]
pub(super) enum HeadField {
    /// A byte that is always this.
    Constant(u8),
    /// The second number of the layout.
    Layout,
    /// Bytes of a place.
    OffsetBytes,
    /// The format.
    Format,
    /// How it is compressed.
    Compression,
    /// Anything that says nothing of its wholeness.
    Other(Kind),
}

impl HeadField {
    pub(super) fn kind(self, layout: u8) -> Kind {
        match self {
            Self::Compression if layout < ALGORITHM_SINCE => Kind::Int,
            Self::Other(kind) => kind,
            _ => Kind::Byte,
        }
    }
}

/// The header: mark, layout, widths, format, compression, date, names and versions.
pub(super) const HEAD: &[HeadField] = &[
    HeadField::Constant(b'P'),
    HeadField::Constant(b'G'),
    HeadField::Constant(b'D'),
    HeadField::Constant(b'M'),
    HeadField::Constant(b'P'),
    HeadField::Constant(1),
    HeadField::Layout,
    HeadField::Other(Kind::Byte),
    HeadField::Constant(4),
    HeadField::OffsetBytes,
    HeadField::Format,
    HeadField::Compression,
    HeadField::Other(Kind::Int),
    HeadField::Other(Kind::Int),
    HeadField::Other(Kind::Int),
    HeadField::Other(Kind::Int),
    HeadField::Other(Kind::Int),
    HeadField::Other(Kind::Int),
    HeadField::Other(Kind::Int),
    HeadField::Other(Kind::Text),
    HeadField::Other(Kind::Text),
    HeadField::Other(Kind::Text),
];

/// A field of an entry.
#[derive(Clone, Copy)]
pub(super) enum EntryField {
    /// Its number, which its data bear as well.
    Number,
    /// Whether data follow.
    HasData,
    /// The object's id on the server.
    Object,
    /// What it is, such as `TABLE DATA`.
    Class,
    /// A number that says nothing of its wholeness.
    Int,
    /// The statement that makes it.
    Definition,
    /// Whom it belongs to.
    Owner,
    /// A text that says nothing of its wholeness.
    Text,
    /// The way in which a table is stored.
    AccessMethod,
    /// The kind of relation.
    RelationKind,
    /// The number of an entry that it depends on, as a text; the last is absent.
    Dependency,
    /// Where its data begin.
    Offset,
}

impl EntryField {
    pub(super) fn kind(self, offset_bytes: u8) -> Kind {
        match self {
            Self::Number | Self::HasData | Self::Int | Self::RelationKind => Kind::Int,
            Self::Object
            | Self::Class
            | Self::Definition
            | Self::Owner
            | Self::Text
            | Self::AccessMethod
            | Self::Dependency => Kind::Text,
            Self::Offset => Kind::Offset(offset_bytes),
        }
    }

    /// Whether this layout has it.
    pub(super) fn is_in(self, layout: u8) -> bool {
        match self {
            Self::AccessMethod => layout >= ACCESS_METHOD_SINCE,
            Self::RelationKind => layout >= RELATION_KIND_SINCE,
            _ => true,
        }
    }
}

/// An entry: number, data, ids, name, class, section, three statements, schema, tablespace, access method, kind of
/// relation, owner, a flag of old, dependencies, place.
pub(super) const ENTRY: &[EntryField] = &[
    EntryField::Number,
    EntryField::HasData,
    EntryField::Text,
    EntryField::Object,
    EntryField::Text,
    EntryField::Class,
    EntryField::Int,
    EntryField::Definition,
    EntryField::Text,
    EntryField::Text,
    EntryField::Text,
    EntryField::Text,
    EntryField::AccessMethod,
    EntryField::RelationKind,
    EntryField::Owner,
    EntryField::Text,
    EntryField::Dependency,
    EntryField::Offset,
];
