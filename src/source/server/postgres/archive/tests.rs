//! Archives made by hand, cut and bent at every byte. Those that `pg_dump` makes are read in the suite.

use super::*;

fn int(number: i64) -> Vec<u8> {
    let bytes = u32::try_from(number.unsigned_abs()).unwrap().to_le_bytes();
    [&[u8::from(number < 0)], &bytes[..]].concat()
}

fn text(text: Option<&str>) -> Vec<u8> {
    let length = text.map_or(-1, |text| i64::try_from(text.len()).unwrap());
    [int(length), text.unwrap_or_default().as_bytes().to_vec()].concat()
}

fn head(layout: u8) -> Vec<u8> {
    let mut bytes = b"PGDMP\x01".to_vec();
    bytes.extend([layout, 0, 4, 8, 1]);
    bytes.extend(if layout < 15 { int(0) } else { vec![0] });
    bytes.extend((0..7).flat_map(int));
    bytes.extend(["vault", "16.2", "16.2"].iter().flat_map(|part| text(Some(part))));
    bytes
}

fn entry(layout: u8, number: i64, object: &str, class: &str, position: Option<u64>) -> Vec<u8> {
    let has_data = ["TABLE DATA", "BLOBS"].contains(&class);
    let mut bytes = [int(number), int(i64::from(has_data)), text(Some("0")), text(Some(object))].concat();
    bytes.extend([text(Some("name")), text(Some(class)), int(3)].concat());
    bytes.extend(
        ["CREATE ...;", "DROP", "COPY ... FROM stdin;", "public", ""]
            .iter()
            .flat_map(|part| text(Some(part))),
    );
    if layout >= 14 {
        bytes.extend(text(None));
    }
    if layout >= 16 {
        bytes.extend(int(114));
    }
    bytes.extend(
        [text(Some("owner")), text(Some("false")), text(Some("7")), text(Some("12")), text(None)].concat(),
    );
    let state = match (has_data, position) {
        (false, _) => 3,
        (true, None) => 1,
        (true, Some(_)) => 2,
    };
    bytes.push(state);
    bytes.extend(position.unwrap_or_default().to_le_bytes());
    bytes
}

fn chunks(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(int(i64::try_from(part.len()).unwrap()));
        bytes.extend_from_slice(part);
    }
    [bytes, int(0)].concat()
}

/// Two tables and two large objects, one of an id above 2^31.
fn archive(layout: u8) -> Vec<u8> {
    let mut bytes = head(layout);
    bytes.extend(int(4));
    bytes.extend(entry(layout, 5, "16384", "TABLE", None));
    bytes.extend(entry(layout, 6, "16384", "TABLE DATA", None));
    bytes.extend(entry(layout, 7, "4000000000", "TABLE DATA", None));
    bytes.extend(entry(layout, 8, "0", "BLOBS", None));
    bytes.extend([vec![1], int(6), chunks(&[b"a\t1\nb", b"\t2\n", b"\\.\n\n\n"])].concat());
    bytes.extend([vec![1], int(7), chunks(&[b"\\.\n\n\n"])].concat());
    bytes.extend(
        [vec![3], int(8), int(16400), chunks(&[b"hello", b"\\.x"]), int(-5), chunks(&[]), int(0)].concat(),
    );
    bytes
}

fn read(bytes: &[u8]) -> Result<Reading> {
    let mut archive = Archive::default();
    archive.feed(bytes)?;
    archive.finish()
}

#[test]
fn rows_and_large_objects_are_counted_in_every_layout() {
    for layout in 12..=16 {
        let bytes = archive(layout);
        let reading = read(&bytes).unwrap();
        assert_eq!(reading.tables, BTreeMap::from([(16384, 2), (4_000_000_000, 0)]));
        assert_eq!(reading.large_objects, 2);
        for cut in 0..bytes.len() {
            let mut archive = Archive::default();
            archive.feed(&bytes[..cut]).unwrap();
            let listed = archive.listed().map(<[u32]>::len);
            archive.feed(&bytes[cut..]).unwrap();
            assert_eq!(archive.finish().unwrap(), reading, "cut at {cut}");
            assert!(listed.is_none_or(|tables| tables == 2));
        }
    }
}

#[test]
fn one_that_breaks_off_or_goes_on_is_refused() {
    let bytes = archive(16);
    for cut in 0..bytes.len() {
        let error = read(&bytes[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error}");
    }
    for more in [0, 1, 3, b'x'] {
        assert_eq!(read(&[&bytes[..], &[more]].concat()).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn one_that_is_bent_is_refused_or_differs_in_what_the_server_is_asked() {
    let bytes = archive(14);
    let whole = read(&bytes).unwrap();
    let (mut refused, mut other) = (0, 0);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << bit;
            match read(&bent) {
                Ok(reading) if reading == whole => {}
                // Another table's id, or an end of a line more or less: what is compared with the server's counts.
                Ok(_) => other += 1,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 2000 && other < 200, "{refused} {other}");
}

#[test]
fn data_must_lie_where_the_list_says() {
    let made = |position| {
        let mut bytes = [head(16), int(1), entry(16, 6, "9", "TABLE DATA", Some(position))].concat();
        let begins = bytes.len() as u64;
        bytes.extend([vec![1], int(6), chunks(&[b"\\.\n\n\n"])].concat());
        (bytes, begins)
    };
    let (_, begins) = made(1);
    assert!(read(&made(begins).0).is_ok());
    assert!(read(&made(begins + 1).0).is_err());
}

#[test]
fn what_is_not_known_is_said_to_be_unknown() {
    for bytes in [
        head(17),
        head(11),
        [head(16), int(ENTRIES_MAX + 1)].concat(),
        [head(16), int(1), {
            let mut strange = entry(16, 6, "9", "TABLE DATA", None);
            let at = strange.windows(10).position(|part| part == b"TABLE DATA").unwrap();
            strange[at] = b'X';
            strange
        }]
        .concat(),
    ] {
        assert_eq!(read(&bytes).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let mut compressed = archive(15);
    compressed[11] = 1;
    assert!(read(&compressed).unwrap_err().to_string().contains("-Z0"));
}

#[test]
fn rows_that_come_twice_or_uncalled_are_refused() {
    let list = |entries: &[Vec<u8>]| {
        [head(16), int(i64::try_from(entries.len()).unwrap()), entries.concat()].concat()
    };
    let rows = |number| [vec![1], int(number), chunks(&[b"\\.\n\n\n"])].concat();
    let one = list(&[entry(16, 6, "9", "TABLE DATA", None)]);
    assert!(read(&[one.clone(), rows(6)].concat()).is_ok());
    for wrong in [
        [one.clone(), rows(6), rows(6)].concat(),
        [one.clone(), rows(7)].concat(),
        [one.clone(), vec![3], int(6), int(0)].concat(),
        [one, vec![1], int(6), chunks(&[b"a\n"])].concat(),
        list(&[entry(16, 6, "9", "TABLE DATA", None), entry(16, 6, "10", "TABLE DATA", None)]),
        [
            list(&[entry(16, 6, "9", "TABLE DATA", None), entry(16, 7, "9", "TABLE DATA", None)]),
            rows(6),
            rows(7),
        ]
        .concat(),
    ] {
        assert_eq!(read(&wrong).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn the_list_tells_whose_the_database_is() {
    let mut archive = Archive::default();
    let mut bytes = [head(15), int(3)].concat();
    bytes.extend(entry(15, 1, "0", "ENCODING", None));
    bytes.extend(entry(15, 2, "16384", "DATABASE", None));
    archive.feed(&bytes).unwrap();
    assert!(archive.list().is_none());
    archive.feed(&entry(15, 3, "16385", "TABLE", None)).unwrap();
    let list = archive.list().unwrap();
    assert_eq!(list.database_owner.as_deref(), Some("owner"));
    assert_eq!(list.owners.iter().collect::<Vec<_>>(), ["owner"]);
    assert_eq!(list.encoding, None, "the statement of this test names none");
}
