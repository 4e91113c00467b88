"""What must hold before a step that cannot be taken back: the old primary is fenced, and no other controller acts."""

from pydantic import TypeAdapter

from drorch.core.evidence import Evidence, Failure
from drorch.core.fence import Proof, Rung
from drorch.core.step import Earlier, Tools
from drorch.fences import AnyRung
from drorch.steps._claimed import held

BROKEN = "broken_fence"
"""The fact of a failure that names the step whose fence does not hold any more."""
_RUNG: TypeAdapter[Rung] = TypeAdapter(AnyRung)


def fence_facts(proof: Proof, rung: Rung) -> dict[str, object]:
    """What a fence step's evidence must hold so that `unsafe` can look again."""
    return {"fenced": proof.host, "proof": proof.model_dump(mode="json"), "rung": rung.model_dump(mode="json")}


def fence_of(earlier: Earlier, host: str) -> Evidence | None:
    """The newest evidence that a host was fenced in this run."""
    found = [evidence for evidence in earlier.values() if evidence.facts.get("fenced") == host]
    return found[-1] if found else None


def unsafe(tools: Tools, earlier: Earlier) -> Failure | None:
    """Why nothing irreversible may be done now in a failover or failback; None when all is well.

    Every proof of this run is asked again. Other kinds of run need none.
    """
    if not tools.scene.moves:
        return None
    if fence_of(earlier, tools.scene.primary) is None:
        return Failure(
            why=f"there is no proof that {tools.scene.primary} is fenced; unreachable is not fenced",
            hint="answer with retry once it is; a skipped fence step is no proof",
        )
    for step, evidence in earlier.items():
        if "fenced" in evidence.facts and (failure := _broken(tools, step, evidence)) is not None:
            return failure
    return held(tools, earlier)


def _broken(tools: Tools, step: str, evidence: Evidence) -> Failure | None:
    proof = Proof.model_validate(evidence.facts["proof"])
    failure = _RUNG.validate_python(evidence.facts["rung"]).holds(tools, proof)
    if failure is None:
        return None
    return failure.model_copy(
        update={
            "why": f"the fence around {proof.host} does not hold: {failure.why}",
            "hint": failure.hint or f"fence {proof.host} again, then retry",
            "facts": {**failure.facts, BROKEN: step},
        }
    )
