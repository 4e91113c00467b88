"""What goes into a recovery kit: from the documents, their secrets and the state folder into one archive, in memory."""

from collections.abc import Collection

from drorch import __version__
from drorch.app import App
from drorch.config.portable import portable
from drorch.engine.runs import operator
from drorch.reports.kit import documents_digest, failover_services, lacks, plans_of, programs
from drorch.reports.kit_readme import readme
from drorch.vault import kit
from drorch.vault.carried import gather
from drorch.vault.signing import KEY_FILE, Signer


def packed(app: App, without: Collection[str]) -> tuple[kit.Manifest, bytes]:
    """The manifest, and the archive with everything in it.

    Raises:
        DrorchError: the documents are wrong, or something cannot be had.
    """
    documents = app.documents
    inventory, runbooks = documents.inventory, documents.runbooks
    with app.everything() as box:
        carried = gather(inventory.hosts, inventory.stores, inventory.secrets, box.secrets, without=without)
    keys = app.settings.state / "keys"
    signer = Signer.open(keys)
    now, by = app.clock.now(), operator()
    # Where a failover has led a service is not in the documents.
    remembered = {key: home for name in inventory.services if (home := app.journal.get(key := f"home:{name}"))}
    plans = plans_of(inventory, runbooks)
    missing, moving = (*lacks(inventory), *programs(plans)), failover_services(runbooks)
    original = documents.file.read_bytes()
    text = readme(inventory, now, by, __version__, failover=moving, left_out=carried.left_out, lacks=missing)
    files = {
        **carried.files,
        **{f"runbooks/{name}.yaml": path.read_bytes() for name, path in documents.origins.items()},
        kit.INVENTORY: portable(
            original, str(documents.file), app.settings.config.absolute(), left_out=carried.left_out
        ),
        kit.ORIGINAL: original,
        kit.SIGNING_KEY: (keys / KEY_FILE).read_bytes(),
        kit.PUBLIC_KEY: f"{signer.public}\n".encode(),
        kit.README: text.encode(),
    }
    manifest = kit.Manifest(
        made=now.replace(microsecond=0),
        by=by,
        drorch=__version__,
        site=inventory.site,
        signer=signer.public,
        documents=documents_digest(inventory, runbooks),
        plans={name: plan.digest for name, plan in plans.items()},
        failover=moving,
        remembered=remembered,
        left_out=carried.left_out,
        lacks=missing,
        files=kit.digests(files),
    )
    return manifest, kit.pack(manifest, files, signer.sign)
