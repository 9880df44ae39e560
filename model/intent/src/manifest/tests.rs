//! Claims about files.

use proptest::prelude::*;

use super::*;
use crate::parse::{UnknownFields, admit, kind_of};

fn one(text: &str) -> Document {
    let documents = read(text, "f.yaml").unwrap_or_else(|problems| panic!("{}", problems[0]));
    assert_eq!(documents.len(), 1);
    documents.into_iter().next().unwrap()
}

fn refusal(text: &str) -> String {
    let problems = read(text, "f.yaml").unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

const NETWORK: &str = "\
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata:
  name: blue
  labels:
    app.kubernetes.io/name: 7
spec:
  subnets:
    - cidr: 10.1.0.0/16
    - cidr: \"10.0.0.0/33\"
      gatway: 10.0.0.1
";

#[test]
fn a_problem_points_at_its_value_in_the_file() {
    let text = format!(
        "# two documents\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n---\n{NETWORK}"
    );
    let documents = read(&text, "net.yaml").unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0].place("metadata.name").to_string(), "net.yaml:5:18");
    let network = &documents[1];
    let kind = kind_of(&network.value).unwrap();
    let problems = network.locate(admit(kind, network.value.clone(), UnknownFields::Refuse).unwrap_err());
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "net.yaml:12:29: metadata.labels[app.kubernetes.io/name]: 7: is a number where a text is wanted — put it in quotes: \"7\"",
            "net.yaml:16:13: spec.subnets[1].cidr: \"10.0.0.0/33\": has a length of 33, longer than an address of 32 bits — give 0–32 after the /",
            "net.yaml:17:15: spec.subnets[1].gatway: \"10.0.0.1\": is no known field — did you mean gateway?",
        ]
    );
}

#[test]
fn what_is_missing_is_told_at_what_it_is_missing_from() {
    let document = one("kind: X\nspec:\n  subnets:\n    - gateway: 10.0.0.1\n");
    assert_eq!(document.place("spec.subnets[0].cidr").to_string(), "f.yaml:4:7");
    assert_eq!(document.place("metadata.labels[a.b/c]").to_string(), "f.yaml:1:1");
}

#[test]
fn json_is_read_too_with_tabs_and_all() {
    let document = one("{\n\t\"kind\": \"X\",\n\t\"spec\": {\"n\": [1, 2.5, true, null, \"a\\u00e4\"]}\n}\n");
    assert_eq!(document.value, serde_json::json!({"kind": "X", "spec": {"n": [1, 2.5, true, null, "aä"]}}));
    assert_eq!(document.place("spec.n[1]").to_string(), "f.yaml:3:20");
}

#[test]
fn plain_words_are_text_unless_json_has_them() {
    let document =
        one("a: yes\nb: on\nc: true\nd: 1.10\ne: '1'\nf: ~\ng: 10.0.0.1\nh: 02:00:00:00:00:01\n1: x\n");
    let expected = serde_json::json!({"a": "yes", "b": "on", "c": true, "d": 1.1, "e": "1", "f": null,
        "g": "10.0.0.1", "h": "02:00:00:00:00:01", "1": "x"});
    assert_eq!(document.value, expected);
}

#[test]
fn lists_are_expanded_and_their_items_keep_their_places() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n  n: 1\n- apiVersion: v1\n  kind: NetworkPolicyList\n  items:\n  - kind: B\n    n: 2\n";
    let documents = read(text, "l.yaml").unwrap();
    let kinds: Vec<&str> = documents.iter().filter_map(|document| document.value["kind"].as_str()).collect();
    assert_eq!(kinds, ["A", "B"]);
    assert_eq!(documents[1].place("n").to_string(), "l.yaml:10:8");
}

#[test]
fn empty_documents_are_passed_over_and_other_values_refused() {
    assert!(read("", "f.yaml").unwrap().is_empty());
    assert!(read("---\n---\n# nothing\n---\n~\n", "f.yaml").unwrap().is_empty());
    assert!(refusal("kind: A\n---\n- 1\n").starts_with("f.yaml:3:1: a document is an object"));
    assert!(refusal("just words\n").starts_with("f.yaml:1:1: a document is an object"));
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let manifest = scan("kind: A\n---\nkind: [\n---\nkind: B\na: 1\na: 2\n---\nkind: C\n", "f.yaml");
    let kinds: Vec<&str> =
        manifest.documents.iter().filter_map(|document| document.value["kind"].as_str()).collect();
    assert_eq!(kinds, ["A", "C"]);
    let places: Vec<u64> = manifest
        .problems
        .iter()
        .filter_map(|problem| problem.place.as_ref())
        .map(|place| place.line)
        .collect();
    assert_eq!(places.len(), 2, "{:?}", manifest.problems);
    assert!((3..=4).contains(&places[0]), "{:?}", manifest.problems);
    assert_eq!(places[1], 7);
    assert!(manifest.problems[1].to_string().contains("a is given twice"), "{:?}", manifest.problems);
}

#[test]
fn anchors_and_merges_work_within_reason() {
    let document = one("kind: A\nx: &x {a: 1}\ny: *x\nz:\n  <<: *x\n  b: 2\n");
    assert_eq!(document.value["y"], serde_json::json!({"a": 1}));
    assert_eq!(document.value["z"], serde_json::json!({"a": 1, "b": 2}));
}

#[test]
fn aliases_may_repeat_what_people_repeat() {
    assert_eq!(one(&laughs(3)).value["a2"][9][9][9], "x");
}

#[test]
fn bombs_are_refused_on_a_small_stack() {
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(refuse_bombs);
    small.unwrap().join().unwrap();
}

/// A list of ten lists of ten lists.
fn laughs(levels: usize) -> String {
    let mut laughs = String::from("kind: A\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..levels {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    laughs
}

fn refuse_bombs() {
    for levels in [5, 12] {
        let laughs = laughs(levels);
        assert!(refusal(&laughs).contains("repeats itself too much"), "{}", refusal(&laughs));
    }
    let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    refusal(&deep);
    let blocks: String = (0..5000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refusal(&blocks);
    let broad = format!("a: [{}]", "1, ".repeat(500_000));
    refusal(&broad);
    assert!(refusal(&" ".repeat(LARGEST_FILE + 1)).contains("split it"));
    refusal("a: *nobody\n");
    refusal("a: &x [*x]\n");
    refusal("a: !!python/object:os.system x\n");
    refusal("a: .inf\n");
    refusal("\u{0}");
}

/// Every document of the corpus, changed a little in every way that a slip can change it.
fn mutated() -> impl Strategy<Value = String> {
    let slip = (
        any::<prop::sample::Index>(),
        0u8..5,
        prop::sample::select("-:[]{}&*!|>'\"%@` \t\n#,?~\\é\u{0}".chars().collect::<Vec<_>>()),
    );
    prop::collection::vec(slip, 1..8).prop_map(|slips| {
        let mut letters: Vec<char> = CORPUS.chars().collect();
        for (index, way, letter) in slips {
            let at = index.index(letters.len().max(1));
            letters.resize(letters.len().max(1), ' ');
            match way {
                0 => letters[at] = letter,
                1 => letters.insert(at, letter),
                2 => drop(letters.remove(at)),
                3 => letters.truncate(at.max(1)),
                _ => {
                    let copy = letters[at..].to_vec();
                    letters.extend(copy);
                }
            }
        }
        letters.into_iter().collect()
    })
}

const CORPUS: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop, labels: &l {app: web}}
spec:
  podSelector:
    matchLabels: *l
  ingress:
  - from:
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    - namespaceSelector:
        matchExpressions:
        - {key: tier, operator: In, values: [\"a\", 'b']}
    ports:
    - port: 80
      endPort: 90
---
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata:
  name: blue
  annotations:
    note: |
      two
      lines
spec:
  subnets:
  - cidr: 10.1.0.0/16
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_slip_upsets_the_reader(text in mutated()) {
        let manifest = scan(&text, "f.yaml");
        for document in manifest.documents {
            let Ok(kind) = kind_of(&document.value) else { continue };
            if let Err(problems) = admit(kind, document.value.clone(), UnknownFields::Refuse) {
                let lines = text.split('\n').count() as u64;
                for problem in document.locate(problems) {
                    let place = problem.place.unwrap();
                    prop_assert!((1..=lines).contains(&place.line), "{}", place);
                }
            }
        }
    }

    #[test]
    fn no_text_upsets_the_reader(text in "[-a-z0-9:\\[\\]{}&*!|>'\"%@ \t\n#,?~\\\\.é]{0,200}") {
        let manifest = scan(&text, "f.yaml");
        for problem in manifest.problems {
            prop_assert!(problem.place.is_some() && !problem.reason.is_empty());
        }
    }
}

#[test]
fn too_many_documents_are_one_problem() {
    let manifest = scan(&"---\na: 1\n".repeat(MOST_DOCUMENTS + 100), "many.yaml");
    assert_eq!(manifest.documents.len(), MOST_DOCUMENTS);
    assert_eq!(manifest.problems.len(), 1, "{:?}", manifest.problems);
    assert!(manifest.problems[0].to_string().contains("more than 20000 documents"));
}
