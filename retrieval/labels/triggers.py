"""The words that deny and doubt, and those that end what was denied or doubted.

After NegEx (Chapman et al., J Biomed Inform 2001) and NegBio (Peng et al., AMIA 2018), for the words of chest X-ray reports.
"""

from __future__ import annotations

_SHOWN = (
    r"(?:seen|identified|visuali[sz]ed|visible|present|evident|demonstrated|appreciated|detected"
    r"|noted|apparent|found|observed"
    r"|shown|suspected)"
)
# Of a finding that is there: "non specific opacity".
_NOT_SO = (
    "specific|displaced|healing|healed|union|united|acute|loculated|malignant|resolving|obstructi(?:ve|ng)|cardiogenic"
    "|traumatic|tension|infectious|cavitary|solid|small cell|smok(?:er|ing)|productive|calcified"
)
_HOW = r"(?:complete|full|total|interval|further|significant|definite|completely|fully|yet)"
_FULLY = r"(?:(?:completely|entirely|fully|definitely|clearly|definitively|totally|reliably|yet) )?"

# Of one place in a text the first kind that fits is taken, so what only looks like a denial stands first.
TRIGGERS = {
    # Says nothing of what follows.
    "empty": (
        r"(?:no|not|without) (?:(?:significant|significantly|interval|appreciable|definite|substantial"
        r"|substantially|acute|apparent"
        r"|obvious|real|major|any) )*(?:changed?|changes|worsening|progression|increase|improvement"
        r"|difference)(?: (?:in|of|from))?"
        rf"|not (?:only|limited to)|not (?:as|well)(?: \w+){{0,2}}"
        # What is "non-displaced" is there; "non-enlarged" is said of the heart, as "not enlarged" is.
        r"|non-(?!(?:significantly |grossly )?(?:enlarged|widened|engorged|increased|blunted))\w+(?: cell)?"
        rf"|non ?(?:{_NOT_SO})|never[- ]smok\w+|not calcified(?= (?:\w+ )?(?:nod|granul|mass|lesion|lymph))"
        r"|(?:without|no) (?:any |iv |intravenous )?(?:contrast|symptoms?)"
        # It is still there, and it may be that large.
        rf"|(?:no|not|without|failure of|lack of)(?: {_HOW})?(?: (?:resolution|clearing|removal)(?: of)?"
        r"| (?:resolving|clearing|improving|improved))"
        r"|(?:no|not) (?:more|less|greater|larger|smaller|fewer) than(?: an?\b)?"
        rf"|not (?:\w+ )?{_SHOWN} (?:on|in) (?:the )?(?:previous|prior|lateral|frontal)"
        r"|no (?:prior|previous|comparison)s?|not (?:\w+ )?resolved"
        r"|(?:partial(?:ly)?|incomplete(?:ly)?|near(?:ly)?|almost|not \w+ly) (?:resolv|clear)(?:ed|ing|ution)(?: of)?"
        r"|(?:partial|incomplete|near(?:ly)?|almost)(?: complete| total)? (?:resolution|clearing|removal)(?: of)?"
        r"|soft tissue edema"
        r"|(?:consistent|compatible|in keeping|associated|along) with|clear cut|clear(?:ed|ing)? (?:for|view)"
    ),
    # What stands before it may be there or not: the image would not show it.
    "silence_back": rf"(?:may|might|could|can)(?: not|not) be {_FULLY}{_SHOWN}",
    # Doubts what stands before it.
    "doubt_back": (
        r"(?:is|are|remains?) (?:possible|suspected|questioned|questionable|equivocal)|(?:is "
        r"|are )?unlikely|may be present"
        rf"|(?:cannot|can not|can't|not) (?:be )?{_FULLY}(?:be )?(?:excluded|ruled out)|(?:is"
        rf"|are) in (?:question|the differential)"
        r"|(?:is|are|would be|could be|may be) (?:a |an |also )*(?:considerations?|possibilit(?:y|ies)"
        r"|concern)|not \w+ly excluded"
    ),
    # Denies what stands before it.
    "denial_back": (
        rf"(?:is|are|was|were|has been|have been|be)? ?(?:not|n't|never) (?:been )?{_FULLY}{_SHOWN}"
        rf"|no longer (?:\w+ly )?{_SHOWN}|(?:has|have|had|is|are) (?:\w+ly |since |now )*(?:resolved"
        rf"|cleared|disappeared|been removed)"
        r"|(?:been |is |are )?(?:ruled out|excluded)|[- ]?free(?! of| air| intra| subdia| peri| flow)"
        r"|(?:is|are) negative|resolved(?! \w)"
    ),
    # Doubts or denies what stands after it ("absent effusion") if a finding does, or else what stands before it.
    "doubt_either": (
        rf"(?:cannot|can not|can't|not|(?:difficult|hard) to|unable to|does not|do not) {_FULLY}(?:exclude"
        rf"|rule out)|suspected"
    ),
    "denial_either": r"absent",
    # Doubts what follows.
    "doubt": (
        r"possib(?:le|ly|ility of|ilities)|probab(?:le|ly|ility of)|likely|perhaps|presumabl[ey]|presumed"
        r"|potential(?:ly)?"
        r"|(?:may|might|could|maybe)(?: (?:be|also|represent|reflect|indicate|suggest|relate|related|have"
        r"|well|partially|partly|in part"
        r"|secondary to|due to|compatible with|related to))*"
        r"|xxxx (?:represents?|representing|reflects?|reflecting|related to|secondary to)"
        r"|question(?:able|ed|s)?(?: of)?|equivocal|suspicious(?: for| of)?|suspicion (?:of|for)|suspect(?:s|ing)?"
        r"|suggest(?:s|ive|ing|ed|ion|ions)?(?: of)?|concern(?:s|ing|ed)?(?: for| of)?|worrisome(?: for)?"
        r"|consider(?:ed|ing)?"
        r"|favou?r(?:s|ed|ing)?|less likely|borderline|rule out|r/o|(?:evaluat|assess)\w* for"
        r"|raises?|doubtful"
        r"|questionably|early changes of"
    ),
    # Doubts every entry of the list that follows, whether or not an "or" ends it.
    "doubt_list": r"differential(?: (?:diagnos[ie]s|considerations?))?|considerations?",
    # What stands after it may be there or not.
    "either_way": r"with(?: or| and/or|/)? ?without|\+/-|±",
    # Speaks of what could be, was, or shall be looked for.
    "hypothesis": (
        r"if(?: there (?:is|are|remains))?|history of|h/o|status post|s/p|in (?:the )?(?:setting|case"
        r"|event) of|regarding"
        r"|sensitive (?:in|for|to)|correlat\w+(?: \w+)? for|to (?:identify|characterize)|(?:evaluation|assessment) of"
    ),
    # Ends what was denied or doubted; some of it looks like a denial.
    "end": (
        r"but|however|although|though|secondary to|due to|yet|only|instead(?! of)"
        r"|just(?! (?:above|below|under|behind|beneath|beyond|over|at|in|on|to|left|right)\b)"
        r"|no doubt|(?:without|beyond) (?:any |a )?doubt|not (?:without|free of|clear of)"
        r"|whereas|while|there (?:is|are|was|were|has|have)|with|plus"
        r"|(?<!not )(?<!no )positive(?: for)?"
        r"|yes|then|status|in addition to|because of|causing"
    ),
    "denial": (
        r"no|not|non|without|negative for|free of|clear(?:ed)? of|absence of|lack(?:s|ing)?(?: of)?"
        r"|neither|nor|den(?:y|ies)|never"
        r"|rules out|ruling out|excludes|excluding|exclud(?:e|ing) out|(?:\w+ )?resolution of|resolved"
        r"|clearing of|removal of"
        r"|minus|sans|nothing to suggest|fail(?:s|ed|ing)? to (?:show|demonstrate|reveal)|against|none of|nil|zero"
    ),
    "relative": r"which|that|who|where",
}
_THOSE = (
    r"(?: (?:all )?(?:those|ones|cases|patients|studies|images|films) (?:with|showing|(?:who|that) (?:have|show)))?"
)
# After which a report doubts and a query denies.
DOUBT_IN_REPORTS = rf"(?:to )?exclude{_THOSE}|rather than|instead of|as opposed to"
_CASES = r"(?: (?:of|the|other|chest|cases?|stud(?:y|ies)|images?|x-?rays?|films?|reports?|findings?))*"
# Denies in a query alone: the lungs of a report are clear "but for" what it found.
DENIAL_IN_QUERIES = (
    rf"(?:any|every)thing but|(?:all|any|every){_CASES} but{_THOSE}|negative|can ?not see"
    rf"|(?:excluding|omit|ignore|skip|avoid|leave out|do not (?:want|show|include)){_THOSE}"
)
# An indication, as "rule out" is.
DOUBT_IN_QUERIES = r"(?:cxr|x-?rays?|films?|radiographs?|stud(?:y|ies)) to exclude|\? ?exclude"
# Leaves out of "all" what follows; elsewhere what follows it is there.
EXCEPT = rf"(?:except(?:ing|ed)?(?: for)?|aside from|apart from|other than|besides){_THOSE}"
# The reply to what stands before it, if it ends its clause ("effusion: none", "pneumonia negative") or a heading follows.
ANSWER = (
    rf"(?:none|no evidence|no|negative|nil)(?: {_SHOWN})?(?= *(?:$|[,)]|(?:and|but)\b))"
    r"|(?<=: )(?:none|no|negative|nil)(?=(?: \w+){1,3} ?:)"
)

VERBS = (
    r"is|are|was|were|has|have|had|be|been|appears?|remains?|demonstrates?|shows?|reveals?"
    r"|obscur(?:es|ing)|project(?:s|ing)?"
    r"|seen|noted|identified|present|visuali[sz]ed|evident|detected|found|suggested"
)

# Words that begin a statement of their own: after "no effusion," what they describe is not one more thing that is not there.
SIDES = {
    "left": r"left(?:[- ]sided)?|lt",
    "right": r"right(?:[- ]sided)?|rt",
    "bilateral": r"bilat(?:eral(?:ly)?)?|bibasilar|bibasal|both|biapical",
}
SEVERITIES = {
    "mild": r"mild(?:ly)?|minimal(?:ly)?|slight(?:ly)?",
    "moderate": r"moderate(?:ly)?",
    "severe": r"severe(?:ly)?",
    "small": r"small|tiny",
    "large": r"large",
}
OTHER_CUES = (
    r"stable|unchanged|chronic|persistent|again|prominent|increased|increasing|worsening|improv(?:ed"
    r"|ing)|old|healed|known"
    r"|interval|basilar|right-sided|left-sided|post(?:operative|surgical)|degenerative|tortuous"
)
