//! What servers' clients write, made by hand: small, and with what is hard to read.

/// Seeds with the names of their targets.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let header =
        "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\n/*!40101 SET NAMES utf8mb4 */;\n";
    for body in [
        "CREATE TABLE `t``x` (\n  `id` int DEFAULT 1 COMMENT 'a;b'\n);\nINSERT INTO `t``x` VALUES\n(1,'a\\'),(',0x00),\n(2,NULL,_binary \"\");\n",
        "DELIMITER ;;\n/*!50003 CREATE*/ /*!50003 TRIGGER `t` */;;\nCREATE PROCEDURE `p`()\nSELECT '\nDELIMITER ;\n' ;;\nDELIMITER ;\n",
        "/*!50001 CREATE VIEW `v` AS SELECT ';*/' */;\n/* x; */INSERT INTO `t` (`a`) VALUES (1);\n",
    ] {
        seeds.push(("mysql_script", format!("{header}{body}\n-- Dump completed\n").into_bytes()));
    }
    let aux = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfe\x00\xfb\x01\x00\x00\x01a\x01b\xff";
    seeds.push(("rdb", [&b"\x01"[..], aux, &[0; 8]].concat()));
    seeds.push(("rdb", [&b"\x00"[..], aux, &[0; 8], &[b'a'; 40]].concat()));
    seeds.extend([12, 14, 16].map(|layout| ("postgres_archive", archive(layout))));
    seeds
}

fn int(number: i32) -> Vec<u8> {
    [&[u8::from(number < 0)], &number.unsigned_abs().to_le_bytes()[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    let length = i32::try_from(text.len()).expect("a short text");
    [int(length), text.as_bytes().to_vec()].concat()
}

fn texts(all: &[&str]) -> Vec<u8> {
    all.iter().flat_map(|one| text(one)).collect()
}

/// An archive of `pg_dump` of this layout: a table, its two rows and a large object.
fn archive(layout: u8) -> Vec<u8> {
    let mut bytes = [b"PGDMP\x01", &[layout, 0, 4, 8, 1][..]].concat();
    bytes.extend(if layout < 15 { int(0) } else { vec![0] });
    bytes.extend((0..7).flat_map(int));
    bytes.extend(texts(&["vault", "16.2", "16.2"]));
    bytes.extend(int(3));
    for (number, object, class, has_data) in
        [(5, "16384", "TABLE", false), (6, "16384", "TABLE DATA", true), (8, "0", "BLOBS", true)]
    {
        bytes.extend([int(number), int(has_data.into()), texts(&["0", object, "name", class])].concat());
        bytes
            .extend([int(3), texts(&["CREATE ...;", "DROP", "COPY ... FROM stdin;", "public", ""])].concat());
        if layout >= 14 {
            bytes.extend(int(-1));
        }
        if layout >= 16 {
            bytes.extend(int(114));
        }
        bytes.extend([texts(&["owner", "false", "7"]), int(-1)].concat());
        bytes.push(if has_data { 1 } else { 3 });
        bytes.extend([0; 8]);
    }
    bytes.extend([vec![1], int(6), text("a\t1\nb"), text("\t2\n\\.\n\n\n"), int(0)].concat());
    bytes.extend([vec![3], int(8), int(16400), text("hello"), int(0), int(0)].concat());
    bytes
}
