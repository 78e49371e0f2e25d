import uuid

from retrieval.records import Report, point_id


def test_equal_reports_have_one_group_whatever_case_and_spacing():
    assert Report("Clear lungs.", "Normal").group == Report(" clear  LUNGS", "normal.").group
    assert Report("Clear lungs.").group != Report("Lungs clear.").group


def test_a_report_without_text_has_the_empty_group():
    assert Report(indication="Cough").group == ""


def test_point_ids_are_stable_uuids_of_dataset_and_image():
    assert point_id("indiana", "1.png") == point_id("indiana", "1.png") == "77fb54be-a1c2-51dc-91e9-e6a18196ce8f"
    assert point_id("other", "1.png") != point_id("indiana", "1.png")
    assert uuid.UUID(point_id("a", "b")).version == 5
