//! The matching rules, case by case.

use super::*;

fn excludes(patterns: &[&str], path: &str) -> bool {
    let text = patterns.join("\n");
    let ignore = Ignore::parse(&text).unwrap();
    let excluded = ignore.excludes(path);
    // A walk from the top must come to the same result.
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let walked = ignore.excludes_below(path, &ignore.above(parent)).0;
    assert_eq!(excluded, walked, "{patterns:?} {path}");
    excluded
}

#[test]
fn one_pattern_and_one_path() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/file", true),
        ("**/file", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("a\\*b", "a*b", true),
        ("a\\", "a\\", false),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def", true),
        ("*/", "a", true),
        ("/a", "a", true),
        ("./a", "a", true),
        ("a/../b", "b", true),
        ("../a", "a", false),
        (".", "a", false),
        ("/", "a", false),
        ("a+b", "a+b", true),
        ("a+b*", "a+bc", true),
        ("(a)*", "(a)x", true),
        ("  a  ", "a", true),
        ("# a", "# a", false),
        (" # a", "# a", true),
        ("node_modules", "sub/node_modules", false),
        ("node_modules", "node_modules/x/y", true),
        ("/dist/", "dist/out.js", true),
        ("[é-ü]", "ö", true),
    ] {
        if pattern == "a\\" {
            assert!(Ignore::parse(pattern).is_err());
            continue;
        }
        assert_eq!(excludes(&[pattern], path), expected, "{pattern} {path}");
    }
}

#[test]
fn the_last_matching_pattern_decides() {
    for (patterns, path, expected) in [
        (&["*.md", "!README.md"][..], "README.md", false),
        (&["!README.md", "*.md"], "README.md", true),
        (&["*", "!src", "src/*.tmp"], "src/a.tmp", true),
        (&["*", "!src", "src/*.tmp"], "src/main.rs", false),
        (&["*", "!src", "src/*.tmp"], "Dockerfile", true),
        (&["docs", "!docs/keep"], "docs/keep/file", false),
        (&["docs", "!docs/keep"], "docs/other", true),
        (&["**", "!util/docker/web"], "util/docker/web/foo", false),
        (
            &["**", "!util/docker/web", "util/docker/web/foo"],
            "util/docker/web/foo",
            true,
        ),
        (&["**", "!dist/proxy.py"], "dist/proxy.py", false),
        (&["!b", "b*"], "b", true),
        (&["a*", "!a*/c", "a/c/d"], "a/c/d", true),
        (&["a*", "!a*/c"], "a/c/d", false),
        (&["!  keep", "*"], "keep", true),
        (&["*", "! keep"], "keep", false),
    ] {
        assert_eq!(excludes(patterns, path), expected, "{patterns:?} {path}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_part_of_patterns() {
    let ignore = Ignore::parse("\u{feff}a\r\n#b\r\nb\r\n").unwrap();
    assert!(ignore.excludes("a") && ignore.excludes("b"));
}

#[test]
fn directories_are_walked_only_where_something_may_be_kept() {
    let ignore = Ignore::parse("*\n!src/lib\n").unwrap();
    assert!(ignore.may_keep_below("src"));
    assert!(ignore.may_keep_below("src/lib"));
    assert!(!ignore.may_keep_below("srcs"));
    assert!(!ignore.may_keep_below("target"));
    let ignore = Ignore::parse("*\n!**/keep.md\n").unwrap();
    assert!(ignore.may_keep_below("target"));
    assert!(!Ignore::parse("*\n").unwrap().may_keep_below("a"));
}

#[test]
fn malformed_patterns_are_errors_with_their_line() {
    let problem = Ignore::parse("ok\n[a\n").unwrap_err();
    assert_eq!((problem.line, problem.text.as_str()), (2, "[a"));
    assert!(Ignore::parse("!").is_err());
    assert!(Ignore::from_patterns(&["[a-]".to_owned()]).is_err());
}

#[test]
fn paths_are_cleaned_as_in_go() {
    for (path, expected) in [
        ("a//b/./c/", "a/b/c"),
        ("../../a", "../../a"),
        ("/../a", "/a"),
        ("a/..", "."),
        ("", "."),
        ("/", "/"),
    ] {
        assert_eq!(clean(path), expected, "{path}");
    }
}
