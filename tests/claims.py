"""Who runs each block of the pages; tests/unit/test_blocks.py holds the pages to it.

A block is known by its page and by words of it; an empty word stands for each block of the page in that language, and
then the test has to take all of them from the page.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """Blocks of a page, and the test that runs them, or that reads them and holds them to what they are for."""

    page: str
    language: str
    words: str
    test: str


@dataclass(frozen=True)
class NotRun:
    """Blocks that no test runs, and why; their commands are still held to the options that there are."""

    page: str
    language: str
    words: str
    reason: str


#: By test: page, language and words of the blocks that it runs.
_RUN = {
    "tests/newcomer/test_first_steps.py": {
        "test_the_demo_scores_and_leaves_nothing_behind": (("README.md", "console", "make demo"),),
        "test_make_test_runs_tests": (("README.md", "console", "make test"),),
        "test_a_model_is_trained_on_ones_own_payments": (("README.md", "console", "tenfold train"),),
        "test_the_first_ten_minutes_end_with_a_green_test": (
            ("CONTRIBUTING.md", "console", "make lint\n.venv/bin/pytest"),
        ),
        "test_the_first_change_is_refused": (("CONTRIBUTING.md", "console", "-k verifies"),),
        "test_the_commands_that_run_less_pick_tests_and_the_last_those_that_failed": (
            ("CONTRIBUTING.md", "console", "pytest --lf"),
        ),
        "test_the_peers_are_pinned_anew": (("benchmarks/peers/README.md", "console", "uv pip compile"),),
        "test_a_fixed_version_has_the_packages_of_the_lock": (("docs/how-to/systemd.md", "bash", "--require-hashes"),),
        "test_a_wheel_is_installed_and_shows_the_demo": (("docs/releasing.md", "console", "pip install"),),
        "test_what_a_change_must_pass_is_passed": (("CONTRIBUTING.md", "console", "make typecheck"),),
    },
    "tests/integration/test_readme.py": {
        "test_kafkas_own_tools_send_a_payment_and_read_its_score": (
            ("README.md", "bash", "kafka-console-producer.sh"),
            ("README.md", "json", ""),
        ),
        "test_the_python_of_the_readme_sends_a_payment_and_reads_its_score": (("README.md", "python", "Producer"),),
        "test_the_library_example_of_the_readme_runs": (("README.md", "python", "LSTMFraudDetector"),),
    },
    "tests/integration/test_wheel.py": {
        "test_the_demo_works_from_the_wheel_alone": (("docs/releasing.md", "console", "uv build"),)
    },
    "tests/integration/test_walk_through.py": {
        "test_the_walk_through_ends_with_a_champion_whose_live_scores_are_those_of_its_backtest": (
            ("docs/walk-through.md", "bash", ""),
            ("docs/walk-through.md", "sql", ""),
        )
    },
    "tests/integration/test_clients.py": {
        "test_a_client_sends_payments_and_handles_each_committed_score_once": tuple(
            ("docs/how-to/clients.md", language, "") for language in ("bash", "python", "java", "go", "javascript")
        )
    },
    "tests/integration/test_how_to.py": {
        "test_a_rollback_is_seen_in_the_scores": (("docs/how-to/rollback.md", "bash", "models rollback"),),
        "test_a_stretch_is_scored_once_more_by_a_group_of_its_own": (
            ("docs/how-to/recovering.md", "bash", "tenfold reset"),
        ),
        "test_windows_move_along_to_added_partitions": (("docs/operations.md", "bash", "kafka-topics.sh"),),
        "test_the_doctor_and_the_bundles_are_asked_before_an_upgrade": (
            ("docs/how-to/upgrading.md", "bash", "tenfold doctor"),
        ),
        "test_what_was_imported_is_in_the_first_score": (("docs/how-to/own-data.md", "bash", ""),),
    },
    "tests/integration/test_pages.py": {
        "test_what_the_readme_installs_makes_topics_and_scores": (("README.md", "console", "pip install .\n"),),
        "test_the_archiver_of_the_page_archives": (("docs/archive.md", "bash", "archive run"),),
        "test_a_history_is_imported": (("docs/archive.md", "bash", "tenfold import"),),
        "test_the_doctor_looks_and_the_settings_are_printed": (
            ("docs/doctor.md", "bash", "tenfold doctor"),
            ("docs/doctor.md", "bash", "tenfold config"),
        ),
        "test_a_user_is_erased": (("docs/erasure.md", "bash", "erase-user"),),
        "test_rules_are_made_and_lifted": (("docs/suppress.md", "bash", "tenfold suppress"),),
        "test_bundles_are_listed_put_in_force_and_into_the_shadow": (
            ("docs/models.md", "bash", "models list"),
            ("docs/models.md", "bash", "promote NAME --force"),
            ("docs/models.md", "bash", "shadow NAME"),
        ),
        "test_the_monitor_of_the_page_is_ready": (("docs/live-quality.md", "bash", "tenfold monitor"),),
        "test_profiles_are_published": (("docs/profiles.md", "console", "profiles run"),),
        "test_a_new_key_of_pseudonyms_takes_an_archive_out_of_clear": (
            ("docs/pseudonyms.md", "bash", "openssl"),
            ("docs/pseudonyms.md", "bash", "rotate-pseudonyms"),
        ),
        "test_the_runbooks_look_where_they_should": (
            ("docs/runbooks/dead-letters.md", "bash", "kafka-console-consumer.sh"),
            ("docs/runbooks/events-lost.md", "bash", "kafka-configs.sh"),
        ),
        "test_the_commands_of_the_page_on_rights_grant_them": (("deploy/acls.md", "bash", ""),),
    },
    "tests/unit/test_backtest.py": {
        "test_scores_are_parquet_and_the_page_makes_a_csv_of_them": (("docs/training.md", "sql", "COPY"),),
    },
    "tests/unit/test_pages.py": {
        "test_the_command_of_the_page_on_messages_writes_what_is_checked_in": (
            ("docs/messages.md", "bash", "tenfold schema"),
        ),
        "test_the_reasons_of_the_page_are_those_of_a_score": (("docs/protocol.md", "json", "reasons"),),
        "test_the_program_for_amazon_prints_what_is_taken_for_a_token": (
            ("docs/managed.md", "python", "MSKAuthTokenProvider"),
            ("docs/managed.md", "bash", "TENFOLD_KAFKA_TOKEN_COMMAND"),
        ),
    },
    "tests/unit/test_readme.py": {
        "test_the_settings_that_the_page_exports_are_taken": (
            ("docs/settings.md", "bash", "TENFOLD_REDIS__SOCKET_TIMEOUT"),
        ),
        "test_the_toml_of_the_page_is_taken": (("docs/settings.md", "toml", ""),),
    },
    "tests/prometheus/test_rules.py": {
        "test_the_pages_commands_make_links_of_paths": (("docs/monitoring.md", "bash", ""),)
    },
    "tests/docker/test_compose.py": {
        "test_all_of_it_is_healthy_and_nothing_listens_beyond_loopback": (
            ("README.md", "console", "docker compose up"),
            ("docs/compose.md", "console", "docker compose up\n"),
        ),
        "test_what_is_done_by_hand_is_done_in_containers": (("docs/compose.md", "bash", "tenfold watch --anomalies"),),
        "test_three_scorers_of_which_one_is_killed_score_everything_once": (
            ("docs/compose.md", "bash", "--scale scorer=3"),
        ),
        "test_a_model_trained_on_what_is_archived_scores": (("docs/compose.md", "bash", "run --rm train\n"),),
        "test_a_model_is_trained_on_simulated_files": (("docs/compose.md", "bash", "--to /data/history"),),
        "test_files_from_before_are_brought_under_a_key": (("docs/compose.md", "bash", "rotate-pseudonyms"),),
    },
    "tests/docker/test_secure.py": {
        "test_all_of_it_is_healthy_and_nothing_listens_beyond_loopback": (
            ("docs/compose.md", "bash", "compose.secure.yml up"),
        ),
        "test_a_payment_sent_under_a_name_has_its_score_here": (("docs/compose.md", "bash", "cp secrets:"),),
        "test_a_user_is_erased_by_a_role_that_can_only_find_and_remove": (("docs/compose.md", "bash", "erase ID"),),
    },
    "tests/docker/test_images.py": {
        "test_the_build_of_the_page_says_where_its_source_is_and_when_it_was_made": (
            ("docs/compose.md", "bash", "--build-arg SOURCE"),
        ),
        "test_the_base_can_be_pinned_as_the_page_says": (("docs/compose.md", "bash", "sed 's"),),
    },
    "tests/chart/test_page.py": {
        "test_the_blocks_of_the_page_are_taken": (("docs/kubernetes.md", "yaml", ""),),
        "test_the_command_beside_the_scorers_makes_a_pod": (("docs/kubernetes.md", "bash", "jq "),),
        "test_the_commands_of_the_page_install_what_they_then_ask_for": (
            ("docs/kubernetes.md", "bash", "helm install"),
        ),
    },
}

CLAIMS = tuple(
    Claim(*block, f"{file}::{test}") for file, tests in _RUN.items() for test, run in tests.items() for block in run
)

_LESS = "asks for months of an archive; tests/integration/test_walk_through.py types it with less"
_PEERS = "installs 2.2 GB and measures for most of an hour; tests/unit/test_peers.py tries the parts"
_SYSTEMD = "asks for root, on a machine that systemd runs; tests/unit/test_systemd.py holds unit and page to it"

NOT_RUN = (
    NotRun(
        "benchmarks/README.md",
        "console",
        "make bench ",
        "measures for most of an hour; tests/unit/test_benchmarks.py tries the parts, and .ci/run the short one",
    ),
    NotRun("benchmarks/peers/README.md", "console", "-m benchmarks.peers", _PEERS),
    NotRun("docs/explanation/comparison.md", "console", "-m benchmarks.peers", _PEERS),
    NotRun("docs/chaos.md", "console", "make chaos", "breaks things for an hour or two"),
    NotRun(
        "docs/evaluation.md",
        "bash",
        "tenfold evaluate",
        "judges a month of an archive; tests/unit/test_evaluate_command.py runs it on less",
    ),
    NotRun("docs/how-to/systemd.md", "bash", "useradd", _SYSTEMD),
    NotRun("docs/how-to/systemd.md", "bash", "systemd-run", _SYSTEMD),
    NotRun("docs/how-to/systemd.md", "bash", "systemctl restart", _SYSTEMD),
    NotRun("docs/kubernetes.md", "bash", "docker push", "pushes to a registry; tests/docker builds each target"),
    NotRun(
        "docs/model.md",
        "bash",
        "training.starter",
        "trains for ten minutes; tests/integration/test_starter.py holds what it made",
    ),
    NotRun(
        "docs/models.md",
        "bash",
        "promote default-",
        "asks for a month of an archive; tests/unit/test_gate_command.py runs it on less",
    ),
    NotRun("docs/training.md", "bash", "tenfold train", _LESS),
    NotRun("docs/training.md", "bash", "tenfold backtest", _LESS),
    NotRun("docs/quality.md", "console", "", "its data is not part of the project; training takes an hour"),
)
