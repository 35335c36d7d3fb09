//! A JSON text as a tree whose branches can be folded.

use std::collections::HashSet;

use serde_json::Value;

/// One line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// How deep it lies.
    pub(crate) depth: usize,
    /// The field's name or the place in the list; empty for the root.
    pub(crate) label: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// The value as text; for a branch, how many it holds.
    pub(crate) text: String,
    /// The first line after everything below it.
    end: usize,
}

/// What a line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An object or a list.
    Branch,
    /// A text.
    Text,
    /// A number, true, false or null.
    Plain,
}

/// A tree, and which of its branches are folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    folded: HashSet<usize>,
}

impl Tree {
    /// The tree of a JSON text; `None` where it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let mut tree = Self::default();
        match &value {
            Value::Object(_) | Value::Array(_) => tree.children(0, &value),
            _ => tree.add(0, String::new(), &value),
        }
        Some(tree)
    }

    fn add(&mut self, depth: usize, label: String, value: &Value) {
        let (kind, text) = match value {
            Value::Object(fields) => (Kind::Branch, format!("{{{}}}", fields.len())),
            Value::Array(items) => (Kind::Branch, format!("[{}]", items.len())),
            Value::String(text) => (Kind::Text, text.clone()),
            other => (Kind::Plain, other.to_string()),
        };
        let at = self.nodes.len();
        self.nodes.push(Node {
            depth,
            label,
            kind,
            text,
            end: 0,
        });
        self.children(depth + 1, value);
        self.nodes[at].end = self.nodes.len();
    }

    fn children(&mut self, depth: usize, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.add(depth, name.clone(), value);
                }
            }
            Value::Array(items) => {
                for (i, value) in items.iter().enumerate() {
                    self.add(depth, i.to_string(), value);
                }
            }
            _ => {}
        }
    }

    /// The lines that are not folded away, with their numbers.
    pub(crate) fn visible(&self) -> impl Iterator<Item = (usize, &Node)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let here = at;
            let node = self.nodes.get(here)?;
            at = if self.folded.contains(&here) {
                node.end
            } else {
                here + 1
            };
            Some((here, node))
        })
    }

    /// The lines whose name or value is one that is wanted, folded away or not.
    pub(crate) fn find(&self, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
        let lines = self.nodes.iter().enumerate();
        let found = lines.filter(|(_, node)| {
            wanted(&node.label) || (node.kind != Kind::Branch && wanted(&node.text))
        });
        found.map(|(line, _)| line).collect()
    }

    /// Unfolds every branch that one of these lines lies in.
    pub(crate) fn reveal(&mut self, lines: &[usize]) {
        self.folded.retain(|branch| {
            let end = self.nodes.get(*branch).map_or(0, |node| node.end);
            !lines.iter().any(|line| (branch + 1..end).contains(line))
        });
    }

    /// Whether a line is folded.
    pub(crate) fn is_folded(&self, line: usize) -> bool {
        self.folded.contains(&line)
    }

    /// Folds a branch, or unfolds it; a line that is no branch stays as it is.
    pub(crate) fn toggle(&mut self, line: usize) {
        let branch = self
            .nodes
            .get(line)
            .is_some_and(|node| node.kind == Kind::Branch);
        if branch && !self.folded.remove(&line) {
            self.folded.insert(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_fold_with_all_below_them() {
        let mut tree = Tree::parse(br#"{"a":{"b":[1,"x"],"c":null},"n":1.00}"#).expect("JSON");
        let lines = |tree: &Tree| -> Vec<String> {
            tree.visible()
                .map(|(_, node)| format!("{}{} {}", " ".repeat(node.depth), node.label, node.text))
                .collect()
        };
        assert_eq!(
            lines(&tree),
            ["a {2}", " b [2]", "  0 1", "  1 x", " c null", "n 1.00"]
        );
        tree.toggle(1);
        assert_eq!(lines(&tree), ["a {2}", " b [2]", " c null", "n 1.00"]);
        tree.toggle(0);
        tree.toggle(5);
        assert_eq!(lines(&tree), ["a {2}", "n 1.00"]);
        tree.toggle(0);
        assert!(tree.is_folded(1) && !tree.is_folded(0));
        assert_eq!(Tree::parse(b"not json"), None);
        assert_eq!(lines(&Tree::parse(b"7").expect("JSON")), [" 7"]);
    }
}
