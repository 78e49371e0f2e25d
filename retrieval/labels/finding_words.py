"""The words for each finding, and for findings that are said of a structure ("the heart is enlarged").

To add a word for a finding, add it to the regular expression of its head in `WORDS_OF_HEAD`. Heads are included if their
words predict the head in the Indiana collection, whose indexers worked from the report text.
"""

from __future__ import annotations

# At one place in a text the first match wins, so longer names come before the names that they contain.
WORDS_OF_HEAD = {
    "Cardiomegaly": (
        r"cardiomegaly|(?:increased|raised) (?:cardio-?thoracic ratio|ctr)|(?:cardio-?thoracic ratio|ctr)"
        r"(?: is| remains| appears)?(?: \w+ly)? (?:increased|raised|enlarged|elevated)"
        r"|(?:heart|cardiac)(?: silhouette)? enlargement|(?:large|big) heart|enlargement of (?:the )?(?:heart"
        r"|cardiac silhouette)"
        r"|(?:heart|cardiac silhouette)(?: size)?(?: is| remains| appears)?(?: \w+ly)? large(?!ly)"
    ),
    "Enlarged Cardiomediastinum": (
        r"(?:mediastinal|cardiomediastinal) (?:widening|enlargement)|widening of the (?:cardio)?mediastin\w+"
    ),
    "Pericardial Effusion": r"pericardial (?:effusions?|fluid)",
    "Pleural Effusion": r"(?:pleural )?effusions?|pleural (?:fluid|collections?)|hydrothorax",
    "Pneumoperitoneum": (
        r"pneumoperitoneum"
        r"|free (?:(?:intra-?peritoneal|sub-?diaphragmatic|intra-?abdominal|sub-?phrenic) )?(?:air|gas)"
    ),
    "Hydropneumothorax": r"hydropneumothora(?:x|ces)",
    "Pneumothorax": r"pneumothora(?:x|ces|xes|cies)|ptx",
    "Granulomatous Disease": (
        r"granulomatous (?:lung |pulmonary )?(?:diseases?|infections?|process|changes?|calcifications?"
        r"|exposure|residual)"
    ),
    "Calcified Granuloma": r"calcifi(?:ed|c) (?:\w+ ){0,5}granulomas?(?:ta)?|granulomas? (?:is|are) calcified",
    "Granuloma": r"granulomas?(?:ta)?|granulomatous(?= nod)",
    "Nodule": r"nodules?|nodularit(?:y|ies)",
    "Mass": r"mass(?:es)?(?! effect)",
    "Infiltrate": r"infiltrates?|infiltrations?",
    "Airspace Disease": r"air ?-?space (?:disease|process|changes)|alveolar (?:disease|process)",
    "Consolidation": r"consolidat(?:ions?|ive)",
    "Opacity": r"opacit(?:y|ies)|opacifications?|haz(?:e|y|iness)",
    "Density": r"(?:hyper)?densit(?:y|ies)",
    "Pulmonary Atelectasis": r"atelecta\w+|collapse",
    "Heart Failure": (
        r"(?:congestive )?(?:heart|cardiac) failure|(?:left )?ventricular failure|chf"
        r"|(?:(?<=evidence of )|(?<=signs of )|(?<=features of )|(?<=overt )|(?<=frank )|(?<=or )|(?<=in ))"
        r"failure(?! to| of)"
    ),
    "Pulmonary Congestion": (
        r"(?:vascular|venous|pulmonary) (?:congestion|engorgement(?! appears? within)|prominence"
        r"|redistribution)|cephalization|congestion"
        r"|(?:increased|prominent|engorged|congested)(?: \w+){0,2} vascula(?:rity|ture)"
        r"|(?:pulmonary )?vascula(?:rity|ture)(?: is| are| appears?)?(?: \w+ly)? (?:increased|prominent"
        r"|engorged|congested)"
    ),
    "Pulmonary Edema": r"(?:pulmonary |interstitial |alveolar )*o?edema",
    "Pneumonia": r"(?:broncho)?pneumonias?|pneumonic|pna",
    "Cystic Fibrosis": r"cystic fibrosis",
    "Pulmonary Fibrosis": r"(?:pulmonary )?(?:fibrosis|fibrotic)",
    "Subcutaneous Emphysema": r"subcutaneous (?:emphysema|air|gas)",
    "Emphysema": r"(?:pulmonary )?emphysema(?:tous)?",
    "Pulmonary Disease, Chronic Obstructive": r"copd|(?:chronic )?obstructive (?:pulmonary|lung|airways?) disease",
    "Lung Diseases, Interstitial": r"interstitial (?:lung |pulmonary )?diseases?",
    "Bronchiectasis": r"bronchiecta\w+",
    "Tuberculosis": r"tubercul(?:osis|ous)|tb",
    "Sarcoidosis": r"sarcoid(?:osis)?",
    "Blister": r"bull(?:a|ae|ous)|blebs?",
    "Lung, Hyperlucent": r"hyperlucen\w+",
    "Volume Loss": r"(?:lung )?volume loss|loss of volume",
    "Cicatrix": r"scar(?:s|ring|red)?",
    "Atherosclerosis": r"(?:ath|art)eriosclero\w+|atherosclero\w+",
    "Calcinosis": r"calcifi\w+|calcinosis",
    "Aortic Aneurysm": r"(?:aortic )?aneurysm(?:s|al)?",
    "Hypertension, Pulmonary": r"pulmonary (?:arterial |artery )?hypertension",
    "Costophrenic Angle": r"blunt(?:ed|ing|s)",
    "Thickening": r"pleural?:?(?: \w+)? (?:thickening|plaques?)|thickening of the (?:\w+ )?pleura|thickened pleura",
    "Diaphragmatic Eventration": r"eventrat\w+",
    "Hernia, Hiatal": r"hiat(?:al|us) hernias?",
    "Fractures, Bone": r"fractures?|fractured",
    "Scoliosis": (
        r"(?:dextro|levo|kypho|roto)?(?:scoliosis|scoliotic)|(?:dextro|levo|s-shaped )curvature"
        r"|curvature of the (?:\w+ )*spine"
    ),
    "Kyphosis": r"(?:hyper)?kypho(?:sis|tic)",
    "Osteophyte": r"osteophyt\w*|(?:bony )?spurring",
    "Spondylosis": r"spondylosis",
    "Arthritis": r"(?:osteo)?arthritis|arthritic|arthrosis",
    "Bone Diseases, Metabolic": r"osteopeni\w+|osteoporo\w+|(?:bony |bone )?demineraliz\w+",
    "Deformity": r"deformit(?:y|ies)",
    "Spinal Fusion": r"(?:spinal|spine|vertebral) fusion|fusion hardware|acdf",
    "Implanted Medical Device": (
        r"pacemakers?|pacers?|aicd|icd|defibrillators?|pacing (?:leads?|device|wires?)|valve replacement"
        r"|prosthetic (?:\w+ )?valve|valve prosthes[ei]s|cardiac (?:xxxx )?device"
    ),
    "Tube, Inserted": (
        r"(?:endotracheal|chest|feeding|tracheostomy|nasogastric|ng|et|enteric|orogastric|og|gastric|naso-?enteric"
        r"|nasojejunal|dobb?-?hoff|intercostal|thoracostomy) (?:tubes?|drains?)|tracheostomy|ett|ngt|ogt|dobb?-?hoff"
        r"|tube (?:placement|insertion)|pigtail(?: catheter| drain)?|(?:chest|pleural) drains?"
    ),
    # Where the name of a catheter was removed (XXXX), the report still says where its tip is.
    "Catheters, Indwelling": (
        r"catheters?|shunt tubing|picc(?: lines?)?|port-?a-?caths?|mediports?|swan-?ganz(?: catheter)?|vas-?cath|perm-?cath"
        r"|(?:central|ij|jugular|subclavian|femoral|dialysis|hickman)(?: venous)? lines?(?: catheters?)?|hickman|cvc|cvl"
        r"|ports?|infusaports?"
        r"|tips? (?:\w+ ){0,4}(?:svc|superior vena cava|cavoatrial)"
    ),
    "Stents": r"stents?",
    "Surgical Instruments": r"(?:surgical |vascular )?clips|surgical (?:staples|instruments)",
}

# Structures and predicates. Together they state findings without naming them: "heart size is normal".
STRUCTURES = {
    "cardiomediastinum": (
        r"cardio-? ?mediastinal(?: (?:silhouettes?|contours?|structures?|size|shadow|borders?))?|cardiomediastinum"
    ),
    "heart": (
        r"heart(?: size| shadow| silhouette| contours?)?(?! failure| disease| valves?| rate)"
        r"|cardio-?thoracic ratio|ctr"
        r"|cardiac (?:silhouettes?|size|contours?|shadow|outline)|cardiac(?=,? (?:and|&|hilar|mediastinal))"
    ),
    "mediastinum": (
        r"mediastinum|mediastinal(?: and hilar)?(?: (?:silhouettes?|contours?|structures?|size|width|borders?|shadow))?"
        r"(?! shift| mass| lymph| aden| node| calc| drain)"
    ),
    "vessels": r"(?:pulmonary |lung )?vascula(?:rity|ture)|(?:pulmonary )?vascular (?:markings?|pattern|engorgement)",
    "lungs": r"lungs(?: fields)?|lung fields|lung parenchyma",
    "pleura": r"pleural (?:spaces?|surfaces?|cavit(?:y|ies))|pleura",
    "angles": r"(?:costophrenic|cp) (?:angles?|sulc(?:us|i)|recess(?:es)?)",
    "bones": r"(?:osseous|bony|skeletal) (?:structures?|thorax|skeleton)|bones|ribs",
}
PREDICATES = {
    "borderline": (
        r"(?:(?:upper|high) (?:limits? of )?|top[- ]?(?:limits of )?)normal"
        r"|borderline(?! cardiomegaly)(?: \w+ly)?(?: enlarged)?"
    ),
    "normal": (
        r"(?:with)?in (?:normal limits|limits of normal)|normal(?:ly)?(?! inflat| expan| aerat)|unremarkable"
        r"|(?:is |are )?(?:not|non)[- ]?(?:significantly |grossly )?(?:enlarged|widened|engorged|increased|blunted)"
    ),
    "enlarged": r"enlarged|widened",
    "clear": r"clear(?! of)|sharp",
    "intact": r"intact",
    "same": r"unchanged|stable",
}
_CLEAR_LUNGS = ("Consolidation", "Infiltrate", "Airspace Disease", "Pneumonia", "Pulmonary Edema")
# "The lungs are clear" negates these five: of 1,157 Indiana studies with these words, only 4 are indexed with one of them.
# It does not negate opacities, scars, atelectasis and nodules, which occur beside it.
NEGATED_BY = {
    ("cardiomediastinum", "normal"): ("Cardiomegaly", "Enlarged Cardiomediastinum"),
    ("heart", "normal"): ("Cardiomegaly",),
    ("mediastinum", "normal"): ("Enlarged Cardiomediastinum",),
    ("vessels", "normal"): ("Pulmonary Congestion",),
    ("lungs", "clear"): _CLEAR_LUNGS,
    ("pleura", "clear"): ("Pleural Effusion", "Pneumothorax"),
    ("pleura", "normal"): ("Pleural Effusion", "Pneumothorax"),
    ("angles", "clear"): ("Pleural Effusion", "Costophrenic Angle"),
    ("angles", "normal"): ("Pleural Effusion", "Costophrenic Angle"),
    ("bones", "intact"): ("Fractures, Bone",),
}
AFFIRMED_BY = {
    ("cardiomediastinum", "enlarged"): ("Cardiomegaly", "Enlarged Cardiomediastinum"),
    ("heart", "enlarged"): ("Cardiomegaly",),
    ("mediastinum", "enlarged"): ("Enlarged Cardiomediastinum",),
}
UNCERTAIN_BY = {
    ("cardiomediastinum", "borderline"): ("Cardiomegaly", "Enlarged Cardiomediastinum"),
    ("heart", "borderline"): ("Cardiomegaly",),
    ("mediastinum", "borderline"): ("Enlarged Cardiomediastinum",),
}
