//! Scripts as clients write them, cut and bent.

use super::*;

const HEADER: &str = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\n--\n\n\
    /*!40101 SET NAMES utf8mb4 */;\n/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n\n\
    --\n-- Table structure for table `t`\n--\n\n";
const END_LINES: &str = "/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed\n";

fn read(script: &str) -> Result<Reading> {
    let mut whole = Script::default();
    let outcome = whole.feed(script.as_bytes()).and_then(|()| whole.finish());
    // However it is cut into pieces, it is the same.
    let mut pieces = Script::default();
    let fed = script.bytes().try_for_each(|byte| pieces.feed(&[byte])).and_then(|()| pieces.finish());
    assert_eq!(outcome.as_ref().ok(), fed.as_ref().ok());
    outcome
}

fn rows(body: &str) -> Vec<(String, u64)> {
    read(&format!("{HEADER}{body}\n{END_LINES}")).unwrap().rows.into_iter().collect()
}

fn of(table: &str, rows: u64) -> Vec<(String, u64)> {
    vec![(table.to_owned(), rows)]
}

#[test]
fn rows_are_counted_whatever_stands_in_them() {
    for (body, expected) in [
        ("INSERT INTO `t` VALUES\n(1,'a'),\n(2,NULL);", of("t", 2)),
        ("INSERT INTO `t` VALUES (1);\nINSERT INTO `t` VALUES (2),(3);", of("t", 3)),
        ("INSERT INTO `t` (`a`, `VALUES`) VALUES (1,2);", of("t", 1)),
        ("INSERT INTO `t` VALUES ('),(');", of("t", 1)),
        (r"INSERT INTO `t` VALUES ('it\'s ),('),('\\'),('''),(''');", of("t", 3)),
        ("INSERT INTO `t` VALUES ('a\n-- Dump completed\n'),('/*'),('*/');", of("t", 3)),
        ("INSERT INTO `t` VALUES (0x00FF,-1.5e10,_binary 'x'),(\"),(\",1,2);", of("t", 2)),
        ("INSERT INTO `t` VALUES ('INSERT INTO `x` VALUES (1);');", of("t", 1)),
        ("INSERT INTO `od``d; VALUES (` VALUES (1);", of("od`d; VALUES (", 1)),
        ("INSERT INTO `t` VALUES (ST_GeomFromText('x', (1)));", of("t", 1)),
        ("CREATE TABLE `c` (\n `a` int DEFAULT 1 COMMENT 'INSERT INTO `t` VALUES (1);'\n);", vec![]),
        ("/*!50001 CREATE VIEW `v` AS SELECT ';*/ INSERT INTO `t` VALUES (1)' */;", vec![]),
        ("/* INSERT INTO `t` VALUES (1); */\n-- INSERT INTO `t` VALUES (1);\n", vec![]),
        ("/*!40000 ALTER TABLE `t` DISABLE KEYS */;\nINSERT INTO `t` VALUES (1);", of("t", 1)),
        ("INSERT INTO `t` VALUES (1) /* (2) */,(3);", of("t", 2)),
    ] {
        assert_eq!(rows(body), expected, "{body}");
    }
}

#[test]
fn routines_hide_what_looks_like_statements() {
    for text in [
        "CREATE PROCEDURE `p`()\nBEGIN\nINSERT INTO `t` VALUES (1);\nEND ;;",
        "CREATE PROCEDURE `p`()\nselect 'it''s', \"\n-- Dump completed\n\", 'abc\\' ;;",
        "CREATE PROCEDURE `p`()\n/* unclosed ' quote\nDELIMITER ;\n*/ SELECT 1 ;;",
        "/*!50003 CREATE*/ /*!50003 TRIGGER `x` BEFORE INSERT ON `t` FOR EACH ROW SET NEW.a = 'a;b' */;;",
        &format!("{} ;;", "x".repeat(1000)),
    ] {
        let body = format!("DELIMITER ;;\n{text}\nDELIMITER ;\nINSERT INTO `t` VALUES (1);");
        assert_eq!(rows(&body), of("t", 1), "{text}");
    }
}

#[test]
fn tables_are_known_by_what_makes_them() {
    let body = "DROP TABLE IF EXISTS `a`;\nCREATE TABLE `a` (\n `x` int, KEY `k` (`x`)\n) ENGINE=InnoDB;\n\
        CREATE TABLE IF NOT EXISTS `b``c` (`x` int);\nCREATE SEQUENCE `s` start with 1;\nLOCK TABLES `l` WRITE;";
    let reading = read(&format!("{HEADER}{body}\n{END_LINES}")).unwrap();
    assert_eq!(reading.made.into_iter().collect::<Vec<_>>(), ["a", "b`c"]);
    assert!(reading.rows.is_empty());
}

#[test]
fn it_begins_with_the_first_table() {
    let mut script = Script::default();
    let (header, table) =
        HEADER.split_at(HEADER.len() - "--\n-- Table structure for table `t`\n--\n\n".len());
    script.feed(header.as_bytes()).unwrap();
    assert!(!script.begun());
    script.feed(table.as_bytes()).unwrap();
    assert!(script.begun());
}

#[test]
fn a_script_that_is_cut_or_goes_on_is_refused() {
    let script = format!(
        "{HEADER}CREATE TABLE `t` (`a` text);\nINSERT INTO `t` VALUES\n('x\\'y'),\n('z');\nDELIMITER ;;\n\
        CREATE PROCEDURE `p`() SELECT 1 ;;\nDELIMITER ;\n{END_LINES}"
    );
    assert_eq!(read(&script).unwrap().rows["t"], 2);
    for length in 0..script.len() {
        let error = read(&script[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}");
    }
    assert!(read(&format!("{script}\n")).is_ok());
    assert!(read(&script.replace("completed\n", "completed on 2026-01-01  1:02:03\n")).is_ok());
    for behind in ["x", "INSERT INTO `t` VALUES (1);\n", "-- Dump completed\n", " "] {
        assert!(read(&format!("{script}{behind}")).is_err(), "{behind}");
    }
    for damage in ["INSERT INTO `t` VALUES (1;\n", "INSERT INTO `t` VALUES (1));\n"] {
        assert!(
            read(&script.replace("DELIMITER ;;\n", &format!("{damage}DELIMITER ;;\n"))).is_err(),
            "{damage}"
        );
    }
    assert!(read(&format!("{HEADER}INSERT INTO `{}` VALUES (1);\n{END_LINES}", "x".repeat(600))).is_err());
}
