from parsl_optuna.core.labels import distinct, named


def test_labels_that_several_problems_have_are_followed_by_the_id():
    assert distinct({"p_1": "net", "p_2": "net", "p_3": "line"}) == {
        "p_1": "net (p_1)",
        "p_2": "net (p_2)",
        "p_3": "line",
    }


def test_the_id_stands_behind_a_label_once():
    assert named("net", "p_1") == named("net (p_1)", "p_1") == "net (p_1)"
