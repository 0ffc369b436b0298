"""Which calls are made of the tools of other people's servers: name, arguments, and words that the result holds.

In the order they are made, since some look at what others have done. FOLDER is the folder that the servers work in, and
PAGE the address of a page on loopback.
"""

from __future__ import annotations

from typing import Any

Call = tuple[str, dict[str, Any], str]

REPOSITORY = {"repo_path": "FOLDER/repository"}
PLUMS = {"path": "FOLDER/files/plums.txt"}
FRUIT = {"name": "plum", "entityType": "fruit", "observations": ["ripe in August"]}

CALLS: dict[str, list[Call]] = {
    "everything": [
        ("echo", {"message": "plums"}, "plums"),
        ("get-annotated-message", {"messageType": "error"}, "Error"),
        ("get-env", {}, "PATH"),
        ("get-resource-links", {"count": 2}, "demo://"),
        ("get-resource-reference", {"resourceType": "Text", "resourceId": 1}, "resource"),
        ("get-structured-content", {"location": "Chicago"}, "temperature"),
        ("get-sum", {"a": 2, "b": 3}, "5"),
        ("get-tiny-image", {}, "image/png"),
        ("gzip-file-as-resource", {"name": "a.gz", "data": "data:text/plain,plums", "outputType": "resource"}, "a.gz"),
        ("toggle-simulated-logging", {}, "logging"),
        ("toggle-subscriber-updates", {}, "updates"),
        ("trigger-long-running-operation", {"duration": 1, "steps": 2}, "completed"),
        ("trigger-elicitation-request", {}, "Ann"),
        ("trigger-url-elicitation", {"url": "https://example.com/"}, "accept"),
        ("simulate-research-query", {"topic": "plums"}, "Research Report: plums"),
        ("simulate-research-query", {"topic": "python", "ambiguous": True}, "programming"),
        ("resources/list", {"containing": "features"}, "demo://resource/static/document/features.md"),
        ("resources/read", {"uri": "demo://resource/static/document/features.md"}, "go on with start="),
        ("resources/read", {"uri": "demo://resource/dynamic/text/7"}, "Resource 7"),
        ("prompts/simple-prompt", {}, "simple prompt"),
        ("prompts/args-prompt", {"city": "Paris"}, "Paris"),
        ("prompts/completable-prompt", {"department": "Sales", "name": "David"}, "David"),
        ("prompts/resource-prompt", {"resourceType": "Text", "resourceId": "2"}, "Resource 2"),
    ],
    "filesystem": [
        ("list_allowed_directories", {}, "FOLDER/files"),
        ("read_file", PLUMS, "August"),
        ("read_text_file", {**PLUMS, "head": 1}, "August"),
        ("read_media_file", {"path": "FOLDER/files/dot.png"}, "image/png"),
        ("read_multiple_files", {"paths": ["FOLDER/files/plums.txt"]}, "August"),
        ("create_directory", {"path": "FOLDER/files/more"}, "more"),
        ("write_file", {"path": "FOLDER/files/more/pears.txt", "content": "Pears"}, "pears.txt"),
        (
            "edit_file",
            {"path": "FOLDER/files/more/pears.txt", "edits": [{"oldText": "Pears", "newText": "Quinces"}]},
            "+Quinces",
        ),
        ("move_file", {"source": "FOLDER/files/more/pears.txt", "destination": "FOLDER/files/q.txt"}, "q.txt"),
        ("list_directory", {"path": "FOLDER/files"}, "[FILE] q.txt"),
        ("list_directory_with_sizes", {"path": "FOLDER/files", "sortBy": "size"}, "q.txt"),
        ("directory_tree", {"path": "FOLDER/files"}, "q.txt"),
        ("search_files", {"path": "FOLDER/files", "pattern": "*.txt"}, "plums.txt"),
        ("get_file_info", {"path": "FOLDER/files/q.txt"}, "size: 7"),
    ],
    "memory": [
        ("create_entities", {"entities": [FRUIT, {**FRUIT, "name": "pear"}]}, "plum"),
        ("create_relations", {"relations": [{"from": "plum", "to": "pear", "relationType": "is like"}]}, "is like"),
        ("add_observations", {"observations": [{"entityName": "plum", "contents": ["blue"]}]}, "blue"),
        ("read_graph", {}, "blue"),
        ("search_nodes", {"query": "blue"}, "plum"),
        ("open_nodes", {"names": ["pear"]}, "pear"),
        ("resources/list", {}, "memory://knowledge-graph"),
        ("resources/read", {"uri": "memory://knowledge-graph"}, "plum"),
        ("delete_observations", {"deletions": [{"entityName": "plum", "observations": ["blue"]}]}, "success"),
        ("delete_relations", {"relations": [{"from": "plum", "to": "pear", "relationType": "is like"}]}, "success"),
        ("delete_entities", {"entityNames": ["plum", "pear"]}, "success"),
    ],
    "time": [
        ("get_current_time", {"timezone": "Europe/Paris"}, "Europe/Paris"),
        (
            "convert_time",
            {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "Etc/UTC"},
            "03:00",
        ),
    ],
    "git": [
        ("git_status", REPOSITORY, "plums.txt"),
        ("git_diff_unstaged", REPOSITORY, "+Plums are ripe in August."),
        ("git_add", {**REPOSITORY, "files": ["plums.txt"]}, "staged"),
        ("git_diff_staged", REPOSITORY, "+Plums are ripe in August."),
        ("git_reset", REPOSITORY, "reset"),
        ("git_add", {**REPOSITORY, "files": ["plums.txt"]}, "staged"),
        ("git_commit", {**REPOSITORY, "message": "Say when"}, "committed"),
        ("git_log", {**REPOSITORY, "max_count": 1}, "Say when"),
        ("git_create_branch", {**REPOSITORY, "branch_name": "pears"}, "pears"),
        ("git_checkout", {**REPOSITORY, "branch_name": "pears"}, "pears"),
        ("git_branch", {**REPOSITORY, "branch_type": "local"}, "pears"),
        ("git_show", {**REPOSITORY, "revision": "HEAD"}, "Say when"),
        ("git_diff", {**REPOSITORY, "target": "HEAD~1"}, "+Plums are ripe in August."),
    ],
    "fetch": [
        ("fetch", {"url": "PAGE"}, "Plums are ripe in August"),
        ("fetch", {"url": "PAGE", "raw": True, "start_index": 6, "max_length": 20}, "<title>Plums</title>"),
        ("prompts/fetch", {"url": "PAGE"}, "Plums are ripe in August"),
    ],
    "sqlite": [
        ("create_table", {"query": "CREATE TABLE fruit (name TEXT, month INTEGER)"}, "success"),
        ("write_query", {"query": "INSERT INTO fruit VALUES ('plum', 8)"}, "affected_rows"),
        ("read_query", {"query": "SELECT * FROM fruit"}, "plum"),
        ("list_tables", {}, "fruit"),
        ("describe_table", {"table_name": "fruit"}, "month"),
        ("append_insight", {"insight": "Plums sell in August."}, "added"),
        ("resources/list", {}, "memo://insights"),
        ("resources/read", {"uri": "memo://insights"}, "Plums sell in August."),
        ("prompts/mcp-demo", {"topic": "plums"}, "plums"),
    ],
}
