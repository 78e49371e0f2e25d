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

# What is nearly gone is there, and so is what a later film shall show to be gone.
_GONE = r"(?:resol(?:v(?:ed|ing|es?)|ution)|clear(?:ed|ing|ance)|disappear(?:ed|ance)|remov(?:ed|al)|gone"
_GONE += r"|subsid(?:ed|ing)|dissipat(?:ed|ing)|vanished|abated)"
_PARTLY = (
    r"(?:(?:partial|incomplete|near|virtual|practical|substantial|significant|marked|slow|gradual|progressive|slight|mild"
    r"|moderate|minimal|large|main|most)(?:ly)?|partly|considerab(?:le|ly)|almost|all but|nearing|continu(?:ed|ing)"
    r"|ongoing|some|somewhat|further|much|yet to|not \w+ly)"
)
_TO_SHOW = (
    r"(?:to (?:ensure|confirm|document|assess|evaluate|monitor|demonstrate|establish|verify|check|see|show)(?: for)?"
    r"|(?:^|please )(?:confirm|document|verify)|ensur(?:e|ing)"
    r"|(?:assess|evaluat|monitor|check|follow)\w*(?: up)? (?:for|of|to|until)"
    r"|until|till|pending|await(?:s|ing)?"
    r"|for)"
)
# "Has resolved on the left but persists on the right."
_ELSEWHERE = r"[^.;]{0,40}\bbut (?:still |it )?(?:persist|remain|unchanged)"
_NEEDS = (
    r"(?:should|must|shall|may|might|could|would"
    r"|(?:(?:need|require|advise|recommend|suggest)(?:s|d|ed)?|ha[sd]|have|ought|is|are|remains?|yet) to|to)"
)
_IMAGING = (
    r"(?:repeat|follow|ct|films?|radiographs?|imaging|correlation|x-?rays?|cxr|comparison|views?|ultrasound|study)"
)
_WITH_TIME = (
    r"since|compared|after|following|from|in|on|over|by|with|at|as|under|when|post|now|today|completely|entirely|fully"
    r"|spontaneously|without|and|but|relative|between|during|s/p|status|bilaterally|despite"
)

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
        rf"|(?:(?:is|are|was|were|has been|have been) )?not (?:\w+ )?(?:{_SHOWN}|there) "
        r"(?:(?:on|in) (?:the )?(?:previous|prior|earlier|last|lateral|frontal)|previously|before|earlier|yesterday)"
        r"|no (?:prior|previous|comparison)s?|not (?:\w+ )?resolved"
        rf"|{_PARTLY}(?:[- ](?:complete|total|entire|full|interval)(?:ly)?){{0,2}} (?:been )?{_GONE}(?: of)?"
        rf"|{_GONE} (?:almost|nearly|partial(?:ly)?|partly|incompletely|largely|mostly|slowly|gradually|somewhat)"
        rf"|{_TO_SHOW}(?: (?:the|its|their|complete|full|interval|radio\w+|eventual|adequate|continued)){{0,3}}"
        rf" {_GONE}(?: of)?"
        rf"|not negative(?: for)?|{_GONE}(?={_ELSEWHERE})"
        r"|soft tissue edema"
        r"|(?:consistent|compatible|in keeping|associated|along) with|clear cut|clear(?:ed|ing)? (?:for|view)"
    ),
    # What stands before it may be there or not: the image would not show it.
    "silence_back": (
        rf"(?:may|might|could|can)(?: not|not) be {_FULLY}(?:{_SHOWN}|assessed|evaluated|judged)"
        r"|(?:(?:would|may|might|could|can|is|are|be) ){0,2}(?:difficult|hard|impossible) to (?:detect|assess|evaluate|see"
        r"|identify|appreciate|judge)(?! on (?:the )?(?:lateral|frontal|pa|ap))|n/a"
        r"|not (?:\w+ly )?(?:assessed|evaluated|applicable|available|assessable)"
    ),
    # Doubts what stands before it.
    "doubt_back": (
        r"(?:is|are|remains?) (?:possible|suspected|questioned|questionable|equivocal)|(?:is |are )?unlikely(?! to)"
        r"|(?:may|might|could|would) (?:still |also )?(?:be|have been) (?:present|there|missed|overlooked)"
        r"|(?<=: )(?:possibl[ey]|probabl[ey]|likely|suspected|questionable|equivocal|indeterminate|uncertain)"
        r"(?= *(?:$|[,()]))"
        r"|(?:is|are) (?:\w+ ){0,2}(?:likely|probable)(?=\W*$|[,(])|(?:is|are|was|were) favou?red(?: over)?(?! to)"
        r"|(?:(?:considered|felt|thought) )?(?:less|more|most|very|highly) likely(?=\W*$|[,(]| but\b| though\b)"
        rf"|{_NEEDS}(?: \w+){{0,2}} be (?:\w+ly )?(?:excluded|ruled out|considered)|be (?:excluded|ruled out)"
        r"|(?:needs?|requires?) (?:exclusion|excluding|ruling out)(?! of)"
        rf"|(?:cannot|can not|can't|not) (?:(?:be|been|yet|\w+ly) ){{0,3}}(?:excluded|ruled out)"
        r"|(?:is|are) in (?:question|the differential)"
        r"|(?:is|are|would be|could be|may be) (?:a |an |also )*(?:considerations?|possibilit(?:y|ies)"
        r"|concern)"
    ),
    # Denies what stands before it.
    "denial_back": (
        rf"(?:(?:is|are|was|were|has been|have been|be) )?(?:not|never) (?:been )?{_FULLY}{_SHOWN}"
        r"|can (?:now )?(?:\w+ly )?be (?:\w+ly )?(?:excluded|ruled out)|(?<!\bbe )removed|removal(?! of)"
        r"|(?:now|since|fully|completely) (?:drained|evacuated)|ha(?:s|ve) (?:given way to|been replaced by)"
        rf"|no longer (?:\w+ly )?{_SHOWN}|(?:has|have|had|is|are) (?:(?!{_PARTLY}\b)\w+ly |since |now )*"
        rf"(?:resolved|cleared|disappeared|gone|subsided|dissipated|vanished|abated)(?! {_PARTLY}\b|{_ELSEWHERE})"
        r"|been (?:\w+ly )?(?:removed|withdrawn|explanted|evacuated|drained|resorbed|reabsorbed)"
        r"|(?:been |is |are )?(?:ruled out|excluded)|[- ]?free(?! of| from| air| gas| intra| sub| peri| flow)"
        r"|(?:is|are|was|were|remains?|been|tests?|tested) negative(?! for| of| regarding| with (?:regard|respect)| as )"
        rf"|(?:resolved|cleared|gone|disappeared)(?! \w| ?:)|(?:resolved|cleared|gone|disappeared)(?= (?:{_WITH_TIME})\b)"
    ),
    # Doubts or denies what stands after it ("absent effusion") if a finding does, or else what stands before it.
    "doubt_either": (
        rf"(?:cannot|can not|can't|not|(?:difficult|hard) to|unable to|does not|do not) {_FULLY}(?:exclude"
        rf"|rule out)|suspected|if (?:any|present),?"
    ),
    "denial_either": r"absent|resolved",
    # Doubts what follows.
    "doubt": (
        r"(?:to |please )?(?:confirm|ensure|verify|document) (?:the )?absence of|"
        r"possib(?:le|ly|ility of|ilities)|probab(?:le|ly|ility of)|likely|perhaps|presumabl[ey]|presumed"
        r"|potential(?:ly)?"
        r"|(?:may|might|could|maybe)(?: (?:be|also|represent|reflect|indicate|suggest|relate|related|have"
        r"|well|partially|partly|in part"
        r"|secondary to|due to|compatible with|related to))*"
        r"|xxxx (?:represents?|representing|reflects?|reflecting|related to|secondary to)"
        r"|question(?:able|ed|s)?(?: of)?|equivocal|suspicious(?: for| of)?|suspicion (?:of|for)|suspect(?:s|ing)?"
        rf"|suggest(?:s|ive|ing|ed|ion|ions)?(?: of)?(?! (?:\w+ ){{0,2}}{_IMAGING})"
        r"|concern(?:s|ing|ed)?(?: for| of)?|worrisome(?: for)?"
        r"|consider(?:ed|ing)?"
        r"|favou?r(?:s|ed|ing)?|less likely|borderline|rule out|r/o|query(?:ing)?|(?:exclusion|ruling out) of"
        r"|(?:evaluat|assess)\w* for"
        r"|unlikely to (?:be|represent|reflect|indicate)|raises?|doubtful"
        r"|questionably|early changes of|doubt(?:s|ed)?"
    ),
    # Doubts every entry of the list that follows, whether or not an "or" ends it.
    "doubt_list": r"differential(?: (?:diagnos[ie]s|considerations?))?|considerations?",
    # What stands after it may be there or not.
    "either_way": r"with(?: or| and/or|/)? ?without|\+/-|±",
    # Speaks of what could be, was, or shall be looked for.
    "hypothesis": (
        r"(?:prior|previous|earlier|outside|last|old)"
        r" (?:film|study|exam(?:ination)?|radiograph|cxr|x-?ray|ct|imaging|report)"
        r"(?: (?:from|of|dated|on) [\w/-]+)?"
        r" (?:with|show(?:s|ed|ing)|demonstrat(?:ed|es|ing)|reveal(?:ed|ing|s)|ha[ds]|describing)"
        r"|when there (?:was|were)|limit(?:s|ed|ing) (?:the )?(?:evaluation|assessment|detection|sensitivity) (?:for|of)"
        r"|(?:treated|treatment|therapy|admitted|hospitali[sz]ed|screening|work-?up|antibiotics|surveillance) (?:for|of)"
        r"|follow(?:[- ]|ed )?up (?:for|of)|f/u(?: for| of)?|if(?: there (?:is|are|remains))?|history of|h/o|hx(?: of)?"
        r"|status post|s/p|in (?:the )?(?:setting|case"
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
        r"no|not|non|without|negative (?:for|of|regarding|as to|as regards|with (?:regards?|respect) to)"
        r"|negative (?:chest|exam\w*|stud(?:y|ies)|films?|radiographs?|x-?rays?|cxr|imaging|views?)(?: \w+)? for"
        r"|free (?:of|from)"
        r"|clear(?:ed)? of|(?:devoid|bare) of|absence of|lack(?:s|ing)?(?: of)?"
        r"|neither|nor|den(?:y|ies)|never"
        r"|rules out|ruling out|excludes|excluding|exclud(?:e|ing) out|(?:\w+ )?resolution of|disappearance of"
        r"|clearing of|removal of"
        r"|minus|sans|nothing to suggest|(?:fail(?:s|ed|ing)? to|cannot)"
        r" (?:\w+ly )?(?:show|demonstrate|reveal|see|identify|find|detect|appreciate)|against|none of|nil|zero"
    ),
    "relative": r"which|that|who|where",
    # What shall happen to a finding has not happened yet.
    "awaited": (
        r"until|till|once|unless|whether|(?:ensur(?:e|ing)|make sure|making sure)(?: that)?"
        r"|(?:to |please )(?:confirm|verify|document|see|check) (?:that|if)"
    ),
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
DOUBT_IN_QUERIES = r"(?<!want )(?<!wish )(?<!like )(?<!need )to exclude|please exclude|\? ?exclude"
# Leaves out of "all" what follows; elsewhere what follows it is there.
EXCEPT = rf"(?:except(?:ing|ed)?(?: for)?|aside from|apart from|other than|besides){_THOSE}"
# The heading of a list that it denies.
DENIED_LIST = (
    r"^(?:pertinent |(?:the )?following (?:findings? )?(?:are |is |were )?)?"
    rf"(?:negatives?|absent|excluded|not {_SHOWN})(?= ?:)"
)
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
SIZES = r"small|tiny|trace"
OTHER_CUES = (
    r"stable|unchanged|chronic|persistent|again|prominent|increased|increasing|worsening|improv(?:ed"
    r"|ing)|old|healed|known"
    r"|interval|basilar|right-sided|left-sided|post(?:operative|surgical)|degenerative|tortuous"
)
