r"""Triggers: the words that negate a finding, make it uncertain, or end the scope of another trigger.

To add a trigger, write a regular expression as a new line under its kind in `BEFORE_FINDINGS` or `AFTER_FINDINGS` below,
and a sentence to `tests/retrieval/labels/`. What each kind does is one row of the table in `retrieval/labels/rules.py`.

The text is in lower case, with one blank between words and short forms written out ("w/o" is "without"). Each expression
stands between word boundaries. Where several fit at one place, the first one wins: first by kind, in the order of the
tables, then by line. So what only looks like a negation stands before what negates.

This file has more than 300 lines because each trigger is on a separate line.

The words are those of NegEx (Chapman et al., J Biomed Inform 2001) and NegBio (Peng et al., AMIA 2018), completed for
reports of chest X-rays.
"""

from __future__ import annotations

from retrieval.labels.kinds import Kind

Patterns = tuple[str, ...]

# Parts of the expressions below.
_SHOWN = (
    r"(?:seen|identified|visuali[sz]ed|visible|present|evident|demonstrated|appreciated|detected"
    r"|noted|apparent|found|observed"
    r"|shown|suspected)"
)
# "Non specific opacity": the opacity is there.
_PROPERTY = (
    "specific|displaced|healing|healed|union|united|acute|loculated|malignant|resolving|obstructi(?:ve|ng)|cardiogenic"
    "|traumatic|tension|infectious|cavitary|solid|small cell|smok(?:er|ing)|productive|calcified"
)
_COMPLETE = r"(?:complete|full|total|interval|further|significant|definite|completely|fully|yet)"
_COMPLETELY = r"(?:(?:completely|entirely|fully|definitely|clearly|definitively|totally|reliably|yet) )?"
_GONE = (
    r"(?:resol(?:v(?:ed|ing|es?)|ution)|clear(?:ed|ing|ance)|disappear(?:ed|ance)|remov(?:ed|al)|gone"
    r"|subsid(?:ed|ing)|dissipat(?:ed|ing)|vanished|abated)"
)
# "Nearly resolved": the finding is still there.
_PARTLY = (
    r"(?:(?:partial|incomplete|near|virtual|practical|substantial|significant|marked|slow|gradual|progressive|slight|mild"
    r"|moderate|minimal|large|main|most)(?:ly)?|partly|considerab(?:le|ly)|almost|all but|nearing|continu(?:ed|ing)"
    r"|ongoing|some|somewhat|further|much|yet to|not \w+ly)"
)
# "To confirm resolution": the finding is still there, and a later film will show whether it goes.
_TO_SHOW = (
    r"(?:to (?:ensure|confirm|document|assess|evaluate|monitor|demonstrate|establish|verify|check|see|show)(?: for)?"
    r"|(?:^|please )(?:confirm|document|verify)|ensur(?:e|ing)"
    r"|(?:assess|evaluat|monitor|check|follow)\w*(?: up)? (?:for|of|to|until)"
    r"|until|till|pending|await(?:s|ing)?"
    r"|for)"
)
# "Has resolved on the left but persists on the right."
_PERSISTS_ELSEWHERE = r"[^.;]{0,40}\bbut (?:still |it )?(?:persist|remain|unchanged)"
_SHOULD = (
    r"(?:should|must|shall|may|might|could|would"
    r"|(?:(?:need|require|advise|recommend|suggest)(?:s|d|ed)?|ha[sd]|have|ought|is|are|remains?|yet) to|to)"
)
_IMAGING = (
    r"(?:repeat|follow|ct|films?|radiographs?|imaging|correlation|x-?rays?|cxr|comparison|views?|ultrasound|study)"
)
# What may follow "resolved" where it is the verb: "resolved since the prior study".
_AFTER_RESOLVED = (
    r"since|compared|after|following|from|in|on|over|by|with|at|as|under|when|post|now|today|completely|entirely|fully"
    r"|spontaneously|without|and|but|relative|between|during|s/p|status|bilaterally|despite"
)
_THOSE = (
    r"(?: (?:all )?(?:those|ones|cases|patients|studies|images|films) (?:with|showing|(?:who|that) (?:have|show)))?"
)
_CASES = r"(?: (?:of|the|other|chest|cases?|stud(?:y|ies)|images?|x-?rays?|films?|reports?|findings?))*"

BEFORE_FINDINGS: dict[Kind, Patterns] = {
    # The heading of a list, all of which it negates: "Absent: effusion, pneumothorax".
    Kind.LIST_NEGATION: (
        r"^(?:pertinent |(?:the )?following (?:findings? )?(?:are |is |were )?)?"
        rf"(?:negatives?|absent|excluded|not {_SHOWN})(?= ?:)",
    ),
    # Only looks like a negation; the finding is there.
    Kind.PSEUDO_NEGATION: (
        r"(?:no|not|without) (?:(?:significant|significantly|interval|appreciable|definite|substantial"
        r"|substantially|acute|apparent"
        r"|obvious|real|major|any) )*(?:changed?|changes|worsening|progression|increase|improvement"
        r"|difference)(?: (?:in|of|from))?",
        r"not (?:only|limited to)",
        r"not (?:as|well)(?: \w+){0,2}",
        # A "non-displaced" fracture is there. A "non-enlarged" heart is a predicate, as "not enlarged" is.
        r"non-(?!(?:significantly |grossly )?(?:enlarged|widened|engorged|increased|blunted))\w+(?: cell)?",
        rf"non ?(?:{_PROPERTY})",
        r"never[- ]smok\w+",
        r"not calcified(?= (?:\w+ )?(?:nod|granul|mass|lesion|lymph))",
        r"(?:without|no) (?:any |iv |intravenous )?(?:contrast|symptoms?)",
        # Still there, or there up to a size.
        rf"(?:no|not|without|failure of|lack of)(?: {_COMPLETE})?(?: (?:resolution|clearing|removal)(?: of)?"
        r"| (?:resolving|clearing|improving|improved))",
        r"(?:no|not) (?:more|less|greater|larger|smaller|fewer) than(?: an?\b)?",
        # Not on the earlier image, so new on this one.
        rf"(?:(?:is|are|was|were|has been|have been) )?not (?:\w+ )?(?:{_SHOWN}|there) "
        r"(?:(?:on|in) (?:the )?(?:previous|prior|earlier|last|lateral|frontal)|previously|before|earlier|yesterday)",
        r"no (?:prior|previous|comparison)s?",
        r"not (?:\w+ )?resolved",
        rf"{_PARTLY}(?:[- ](?:complete|total|entire|full|interval)(?:ly)?){{0,2}} (?:been )?{_GONE}(?: of)?",
        rf"{_GONE} (?:almost|nearly|partial(?:ly)?|partly|incompletely|largely|mostly|slowly|gradually|somewhat)",
        rf"{_TO_SHOW}(?: (?:the|its|their|complete|full|interval|radio\w+|eventual|adequate|continued)){{0,3}}"
        rf" {_GONE}(?: of)?",
        r"not negative(?: for)?",
        rf"{_GONE}(?={_PERSISTS_ELSEWHERE})",
        r"soft tissue edema",
        r"(?:consistent|compatible|in keeping|associated|along) with",
        r"clear cut",
        r"clear(?:ed|ing)? (?:for|view)",
    ),
    # The image would not show the finding before it, which may be there or not.
    Kind.NOT_ASSESSABLE: (
        rf"(?:may|might|could|can)(?: not|not) be {_COMPLETELY}(?:{_SHOWN}|assessed|evaluated|judged)",
        r"(?:(?:would|may|might|could|can|is|are|be) ){0,2}(?:difficult|hard|impossible) to (?:detect|assess|evaluate|see"
        r"|identify|appreciate|judge)(?! on (?:the )?(?:lateral|frontal|pa|ap))",
        r"n/a",
        r"not (?:\w+ly )?(?:assessed|evaluated|applicable|available|assessable)",
    ),
    # Makes what stands before it uncertain.
    Kind.POST_UNCERTAINTY: (
        r"(?:is|are|remains?) (?:possible|suspected|questioned|questionable|equivocal)",
        r"(?:is |are )?unlikely(?! to)",
        r"(?:may|might|could|would) (?:still |also )?(?:be|have been) (?:present|there|missed|overlooked)",
        r"(?<=: )(?:possibl[ey]|probabl[ey]|likely|suspected|questionable|equivocal|indeterminate|uncertain)"
        r"(?= *(?:$|[,()]))",
        r"(?:is|are) (?:\w+ ){0,2}(?:likely|probable)(?=\W*$|[,(])",
        r"(?:is|are|was|were) favou?red(?: over)?(?! to)",
        r"(?:(?:considered|felt|thought) )?(?:less|more|most|very|highly) likely(?=\W*$|[,(]| but\b| though\b)",
        rf"{_SHOULD}(?: \w+){{0,2}} be (?:\w+ly )?(?:excluded|ruled out|considered)",
        r"be (?:excluded|ruled out)",
        r"(?:needs?|requires?) (?:exclusion|excluding|ruling out)(?! of)",
        r"(?:cannot|can not|can't|not) (?:(?:be|been|yet|\w+ly) ){0,3}(?:excluded|ruled out)",
        r"(?:is|are) in (?:question|the differential)",
        r"(?:is|are|would be|could be|may be) (?:a |an |also )*(?:considerations?|possibilit(?:y|ies)"
        r"|concern)",
    ),
    # Negates what stands before it.
    Kind.POST_NEGATION: (
        rf"(?:(?:is|are|was|were|has been|have been|be) )?(?:not|never) (?:been )?{_COMPLETELY}{_SHOWN}",
        r"can (?:now )?(?:\w+ly )?be (?:\w+ly )?(?:excluded|ruled out)",
        r"(?<!\bbe )removed",
        r"removal(?! of)",
        r"(?:now|since|fully|completely) (?:drained|evacuated)",
        r"ha(?:s|ve) (?:given way to|been replaced by)",
        rf"no longer (?:\w+ly )?{_SHOWN}",
        rf"(?:has|have|had|is|are) (?:(?!{_PARTLY}\b)\w+ly |since |now )*"
        rf"(?:resolved|cleared|disappeared|gone|subsided|dissipated|vanished|abated)(?! {_PARTLY}\b|{_PERSISTS_ELSEWHERE})",
        r"been (?:\w+ly )?(?:removed|withdrawn|explanted|evacuated|drained|resorbed|reabsorbed)",
        r"(?:been |is |are )?(?:ruled out|excluded)",
        r"[- ]?free(?! of| from| air| gas| intra| sub| peri| flow)",
        r"(?:is|are|was|were|remains?|been|tests?|tested) negative(?! for| of| regarding| with (?:regard|respect)| as )",
        r"(?:resolved|cleared|gone|disappeared)(?! \w| ?:)",
        rf"(?:resolved|cleared|gone|disappeared)(?= (?:{_AFTER_RESOLVED})\b)",
    ),
    # Answers what stands before it, at the end of a clause ("effusion: none", "pneumonia negative") or before a heading.
    Kind.NEGATIVE_ANSWER: (
        rf"(?:none|no evidence|no|negative|nil)(?: {_SHOWN})?(?= *(?:$|[,)]|(?:and|but)\b))",
        r"(?<=: )(?:none|no|negative|nil)(?=(?: \w+){1,3} ?:)",
    ),
    # Leaves what follows out of "all cases"; elsewhere what follows is there ("all clear except for an effusion").
    Kind.EXCEPTION: (rf"(?:except(?:ing|ed)?(?: for)?|aside from|apart from|other than|besides){_THOSE}",),
}

AFTER_FINDINGS: dict[Kind, Patterns] = {
    # Makes both sides uncertain: "atelectasis versus infiltrate".
    Kind.VERSUS: (
        r"versus",
        r"vs",
    ),
    # An adjective that does not end a negated list: "no consolidation, suspicious nodule, or effusion".
    Kind.SUSPICIOUS: (r"suspicious(?! for| of)",),
    # Makes uncertain what stands after it, or else what stands before it.
    Kind.BIDIRECTIONAL_UNCERTAINTY: (
        rf"(?:cannot|can not|can't|not|(?:difficult|hard) to|unable to|does not|do not) {_COMPLETELY}(?:exclude"
        r"|rule out)",
        r"suspected",
        r"if (?:any|present),?",
    ),
    # Negates what stands after it ("absent effusion"), or else what stands before it ("effusion absent").
    Kind.BIDIRECTIONAL_NEGATION: (
        r"absent",
        r"resolved",
    ),
    # Makes what follows uncertain.
    Kind.PRE_UNCERTAINTY: (
        r"(?:to |please )?(?:confirm|ensure|verify|document) (?:the )?absence of",
        r"possib(?:le|ly|ility of|ilities)",
        r"probab(?:le|ly|ility of)",
        r"likely",
        r"perhaps",
        r"presumabl[ey]",
        r"presumed",
        r"potential(?:ly)?",
        r"(?:may|might|could|maybe)(?: (?:be|also|represent|reflect|indicate|suggest|relate|related|have"
        r"|well|partially|partly|in part"
        r"|secondary to|due to|compatible with|related to))*",
        r"xxxx (?:represents?|representing|reflects?|reflecting|related to|secondary to)",
        r"question(?:able|ed|s)?(?: of)?",
        r"equivocal",
        r"suspicious(?: for| of)?",
        r"suspicion (?:of|for)",
        r"suspect(?:s|ing)?",
        rf"suggest(?:s|ive|ing|ed|ion|ions)?(?: of)?(?! (?:\w+ ){{0,2}}{_IMAGING})",
        r"concern(?:s|ing|ed)?(?: for| of)?",
        r"worrisome(?: for)?",
        r"consider(?:ed|ing)?",
        r"favou?r(?:s|ed|ing)?",
        r"less likely",
        r"borderline",
        r"rule out",
        r"r/o",
        r"query(?:ing)?",
        r"(?:exclusion|ruling out) of",
        r"(?:evaluat|assess)\w* for",
        r"unlikely to (?:be|represent|reflect|indicate)",
        r"raises?",
        r"doubtful",
        r"questionably",
        r"early changes of",
        r"doubt(?:s|ed)?",
    ),
    # Makes every entry of the list that follows uncertain, with or without an "or" at its end.
    Kind.LIST_UNCERTAINTY: (
        r"differential(?: (?:diagnos[ie]s|considerations?))?",
        r"considerations?",
    ),
    # What follows may be there or not.
    Kind.WITH_OR_WITHOUT: (
        r"with(?: or| and/or|/)? ?without",
        r"\+/-",
        r"±",
    ),
    # Names what could be, was once, or is to be looked for.
    Kind.HYPOTHETICAL: (
        r"(?:prior|previous|earlier|outside|last|old)"
        r" (?:film|study|exam(?:ination)?|radiograph|cxr|x-?ray|ct|imaging|report)"
        r"(?: (?:from|of|dated|on) [\w/-]+)?"
        r" (?:with|show(?:s|ed|ing)|demonstrat(?:ed|es|ing)|reveal(?:ed|ing|s)|ha[ds]|describing)",
        r"when there (?:was|were)",
        r"limit(?:s|ed|ing) (?:the )?(?:evaluation|assessment|detection|sensitivity) (?:for|of)",
        r"(?:treated|treatment|therapy|admitted|hospitali[sz]ed|screening|work-?up|antibiotics|surveillance) (?:for|of)",
        r"follow(?:[- ]|ed )?up (?:for|of)",
        r"f/u(?: for| of)?",
        r"if(?: there (?:is|are|remains))?",
        r"history of",
        r"h/o",
        r"hx(?: of)?",
        r"status post",
        r"s/p",
        r"in (?:the )?(?:setting|case"
        r"|event) of",
        r"regarding",
        r"sensitive (?:in|for|to)",
        r"correlat\w+(?: \w+)? for",
        r"to (?:identify|characterize)",
        r"(?:evaluation|assessment) of",
    ),
    # Ends the scope of the triggers before it; some of these look like a negation.
    Kind.TERMINATION: (
        r"but",
        r"however",
        r"although",
        r"though",
        r"secondary to",
        r"due to",
        r"yet",
        r"only",
        r"instead(?! of)",
        r"just(?! (?:above|below|under|behind|beneath|beyond|over|at|in|on|to|left|right)\b)",
        r"no doubt",
        r"(?:without|beyond) (?:any |a )?doubt",
        r"not (?:without|free of|clear of)",
        r"whereas",
        r"while",
        r"there (?:is|are|was|were|has|have)",
        r"with",
        r"plus",
        r"(?<!not )(?<!no )positive(?: for)?",
        r"yes",
        r"then",
        r"status",
        r"in addition to",
        r"because of",
        r"causing",
    ),
    # Negates what follows.
    Kind.PRE_NEGATION: (
        r"no",
        r"not",
        r"non",
        r"without",
        r"negative (?:for|of|regarding|as to|as regards|with (?:regards?|respect) to)",
        r"negative (?:chest|exam\w*|stud(?:y|ies)|films?|radiographs?|x-?rays?|cxr|imaging|views?)(?: \w+)? for",
        r"free (?:of|from)",
        r"clear(?:ed)? of",
        r"(?:devoid|bare) of",
        r"absence of",
        r"lack(?:s|ing)?(?: of)?",
        r"neither",
        r"nor",
        r"den(?:y|ies)",
        r"never",
        r"rules out",
        r"ruling out",
        r"excludes",
        r"excluding",
        r"exclud(?:e|ing) out",
        r"(?:\w+ )?resolution of",
        r"disappearance of",
        r"clearing of",
        r"removal of",
        r"minus",
        r"sans",
        r"nothing to suggest",
        r"(?:fail(?:s|ed|ing)? to|cannot)"
        r" (?:\w+ly )?(?:show|demonstrate|reveal|see|identify|find|detect|appreciate)",
        r"against",
        r"none of",
        r"nil",
        r"zero",
    ),
    # Begins a clause about what was just named; the trigger before it no longer holds.
    Kind.RELATIVE_PRONOUN: (
        r"which",
        r"that",
        r"who",
        r"where",
    ),
    # What follows has not happened yet: "repeat until the effusion has resolved".
    Kind.PENDING: (
        r"until",
        r"till",
        r"once",
        r"unless",
        r"whether",
        r"(?:ensur(?:e|ing)|make sure|making sure)(?: that)?",
        r"(?:to |please )(?:confirm|verify|document|see|check) (?:that|if)",
    ),
}

_INSTEAD_OF = (rf"(?:to )?exclude{_THOSE}", r"rather than", r"instead of", r"as opposed to")

ONLY_IN_REPORTS: dict[Kind, Patterns] = {
    Kind.PRE_UNCERTAINTY: _INSTEAD_OF,
}
"""Triggers that reports alone have, added at the end of their kind."""

ONLY_IN_QUERIES: dict[Kind, Patterns] = {
    Kind.PRE_NEGATION: (
        *_INSTEAD_OF,
        # In a report the lungs may be clear "but for" a finding.
        r"(?:any|every)thing but",
        rf"(?:all|any|every){_CASES} but{_THOSE}",
        r"negative",
        r"can ?not see",
        rf"(?:excluding|omit|ignore|skip|avoid|leave out|do not (?:want|show|include)){_THOSE}",
    ),
    # The indication of an examination, as "rule out" is.
    Kind.PRE_UNCERTAINTY: (
        r"(?<!want )(?<!wish )(?<!like )(?<!need )to exclude",
        r"please exclude",
        r"\? ?exclude",
    ),
}
"""Triggers that queries alone have, added at the end of their kind."""
