#!/usr/bin/env bash
# Counts words that make prose hard to read, per 1,000 words of comments and of documents, and lists the files
# with the most of them. A lens, not a gate: a sentence is good if it is clear.
#
# Targets: "if" at least 6, "where" at most 2, "what" at most 2, "nobody/somebody/whoever" near 0.
set -euo pipefail
cd "$(dirname "$0")/.."

# Comments of Rust and Lua sources: the text behind //, ///, //! and --. Documents: all text but code blocks.
files() { git ls-files -z -- "$@"; }

count() {
    xargs -0 awk -v kind="$1" -v worst="${WORST:-8}" '
        function take(text,   n, i, word) {
            gsub(/`[^`]*`/, " ", text)
            n = split(tolower(text), words, /[^a-z]+/)
            for (i = 1; i <= n; i++) {
                word = words[i]
                if (word == "") continue
                all[FILENAME]++; total++
                if (word in bad || word == "if") { hits[word]++ }
                if (word in bad) { score[FILENAME]++ }
            }
        }
        BEGIN {
            split("where what nobody somebody whoever", list, " ")
            for (i in list) bad[list[i]]
        }
        FNR == 1 { fenced = 0 }
        kind == "documents" && /^ *```/ { fenced = !fenced; next }
        kind == "documents" { if (!fenced) take($0); next }
        FILENAME ~ /\.rs$/ && match($0, /(^|[ \t])\/\/[\/!]?( |$)/) { take(substr($0, RSTART + RLENGTH)) }
        FILENAME ~ /\.lua$/ && match($0, /(^|[ \t])-- /) { take(substr($0, RSTART + RLENGTH)) }
        END {
            if (total == 0) exit
            printf "%s: %d words; per 1,000: if %.1f, where %.1f, what %.1f, nobody-somebody-whoever %.1f\n", kind,
                total, hits["if"] * 1000 / total, hits["where"] * 1000 / total, hits["what"] * 1000 / total,
                (hits["nobody"] + hits["somebody"] + hits["whoever"]) * 1000 / total
            sort = "sort -rn | head -n " worst
            for (file in score) if (all[file] >= 50)
                printf "%7.1f  %s\n", score[file] * 1000 / all[file], file | sort
            close(sort)
        }'
}

files '*.rs' '*.lua' | count comments
files '*.md' | count documents
