"""Makes the PDF and the Word file of `examples/documents`; the other files there are written by hand.

    pip install fpdf2 python-docx && python examples/make_documents.py

The results are kept in the repository, so nobody needs fpdf2 to use ragagent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from fpdf import FPDF
from fpdf.enums import XPos, YPos

FOLDER = Path(__file__).resolve().parent / "documents"
WRITTEN = datetime(2025, 1, 20, 9, 0, tzinfo=UTC)

HANDBOOK: list[tuple[str, str | list[list[str]]]] = [
    ("h1", "House Handbook 2025"),
    ("p", "Alder Yard Community Centre, 3 Mill Lane. This handbook holds from 1 February 2025 until further notice. It "
          "tells tenants, guests and staff how rooms are hired, what they cost, and which rules apply in the house."),
    ("h2", "1. About the house"),
    ("p", "The Alder Yard Community Centre opened on 9 May 1998 in a former furniture factory. The building has three "
          "floors and 1,840 square metres. A lift reaches all floors. There are 22 parking spaces, two of them for "
          "people with disabilities."),
    ("p", "The house manager is Jonas Whitfield. His office is room 104 on the ground floor; the telephone number is "
          "555-0142. Outside office hours the caretaker on duty can be reached at 555-0177."),
    ("h2", "2. Opening hours"),
    ("table", [["Day", "House", "Office", "Cafe"],
               ["Monday to Thursday", "08:00 - 22:00", "09:00 - 16:00", "08:30 - 17:00"],
               ["Friday", "08:00 - 23:30", "09:00 - 13:00", "08:30 - 18:00"],
               ["Saturday", "09:00 - 23:30", "closed", "10:00 - 18:00"],
               ["Sunday", "10:00 - 20:00", "closed", "10:00 - 16:00"]]),
    ("p", "The house is closed on public holidays and from 24 December to 1 January."),
    ("page", ""),
    ("h2", "3. Hiring a room"),
    ("p", "Requests are sent to the office at least 14 days before the event. A booking is binding when the office has "
          "confirmed it in writing and the deposit has been paid."),
    ("h3", "3.1 Rooms and prices"),
    ("p", "Prices are in euros per hour and include heating, light, tables and chairs. Registered charities pay the "
          "reduced price. The shortest booking is two hours."),
    ("table", [["Room", "Seats", "Standard price", "Reduced price", "Deposit"],
               ["Great Hall", "220", "85.00", "51.00", "400"],
               ["Linden Room", "60", "34.00", "20.00", "150"],
               ["Workshop", "24", "28.50", "17.00", "150"],
               ["Music Room", "16", "19.00", "11.50", "100"],
               ["Kitchen", "8", "22.00", "13.00", "200"]]),
    ("p", "On Saturdays and Sundays a surcharge of 20 percent is added to the price of the Great Hall. The other rooms "
          "cost the same on all days."),
    ("h3", "3.2 Equipment"),
    ("p", "A projector can be hired for 25 euros a day, a sound system with two microphones for 60 euros a day, and "
          "the grand piano in the Great Hall for 90 euros a day. Tuning the piano costs 110 euros more."),
    ("h3", "3.3 Cancelling a booking"),
    ("p", "Whoever cancels more than 30 days before the event pays nothing. Between 30 and 8 days before the event "
          "half of the price is due. From 7 days before the event the full price is due. The deposit is always "
          "returned within 10 working days."),
    ("page", ""),
    ("h2", "4. Rules of the house"),
    ("p", "Smoking is not allowed anywhere in the building. Music has to be turned down to 65 decibels after 22:00. "
          "Windows to the yard stay closed during concerts."),
    ("p", "Rooms are left swept and the chairs stacked in rows of ten. Extra cleaning is charged at 38 euros an hour. "
          "A lost key costs 75 euros, because the lock has to be changed."),
    ("h2", "5. Safety"),
    ("p", "In the Great Hall there may be at most 300 people when they stand and 220 when they sit. For events "
          "with more than 150 people the tenant names two stewards. The emergency exits must stay clear at all times."),
    ("p", "The fire alarm is tested on the first Monday of each month at 10:00. The assembly point is the chestnut "
          "tree in the car park."),
    ("h2", "6. Complaints"),
    ("p", "Complaints are sent to the house manager in writing within seven days of the event. He answers within 15 "
          "working days. Whoever does not agree with the answer can turn to the board, chaired by Marta Velden."),
]  # fmt: skip

CONTRACT: list[tuple[str, str]] = [
    ("title", "Cleaning contract"),
    ("p", "between the Alder Yard Community Centre, 3 Mill Lane (the client), and Silverbroom Services Ltd, 48 Harbour "
          "Street (the contractor). Contract number AY-2024-117, signed on 18 November 2024."),
    ("h", "1. Subject"),
    ("p", "The contractor cleans the rooms listed in clause 2. Work begins on 1 January 2025."),
    ("h", "2. Scope of work"),
    ("table", "Area|How often|Square metres;Entrance hall and stairs|daily|260;Offices|twice a week|140;Great Hall|"
              "after each event, at least weekly|410;Toilets|daily|95;Windows|every three months|330"),
    ("p", "Cleaning is done between 05:30 and 08:00. The contractor brings all machines and cleaning agents."),
    ("h", "3. Price"),
    ("p", "The client pays 1,370 euros a month, payable within 21 days of the invoice. Work beyond clause 2 is paid at "
          "29.50 euros per hour and person, if it was ordered in writing."),
    ("p", "The price may be raised once a year, on 1 January, by at most 3 percent. The contractor announces this by "
          "31 October of the year before."),
    ("h", "4. Quality"),
    ("p", "Both sides walk through the house together every six months. If the same fault is reported three times "
          "within 90 days, the client may reduce the price of that month by 15 percent."),
    ("h", "5. Liability"),
    ("p", "The contractor is insured for damage up to 2,000,000 euros per event. Lost keys are reported on the same "
          "day."),
    ("h", "6. Term and notice"),
    ("p", "The contract runs until 31 December 2027. It may be ended by either side with three months' notice to the "
          "end of a quarter. The notice has to be given in writing; an e-mail is not enough."),
    ("p", "If neither side gives notice, the contract is extended by one year at a time after 31 December 2027."),
    ("h", "7. Data protection"),
    ("p", "Staff of the contractor do not open cupboards, folders or computers. This duty holds for five years after "
          "the end of the contract."),
]  # fmt: skip


def make_handbook(path: Path) -> None:
    """Three pages with headings, prose and two tables."""
    pdf = FPDF(format="A4")
    pdf.set_title("House Handbook 2025")
    pdf.set_author("Jonas Whitfield")
    pdf.set_creation_date(WRITTEN)
    pdf.set_margin(22)
    pdf.set_auto_page_break(True, margin=22)
    pdf.add_page()
    for kind, content in HANDBOOK:
        if kind == "page":
            pdf.add_page()
        elif isinstance(content, list):
            _pdf_table(pdf, content)
        else:
            _pdf_text(pdf, kind, content)
    pdf.output(str(path))


def _pdf_text(pdf: FPDF, kind: str, text: str) -> None:
    style, size, space = {"h1": ("B", 22, 4), "h2": ("B", 15, 3), "h3": ("B", 12, 2), "p": ("", 11, 2)}[kind]
    pdf.ln(space)
    pdf.set_font("Helvetica", style, size)
    pdf.multi_cell(0, size * 0.5, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _pdf_table(pdf: FPDF, rows: list[list[str]]) -> None:
    pdf.ln(3)
    pdf.set_font("Helvetica", "", 10)
    with pdf.table(text_align="LEFT", line_height=6) as table:
        for cells in rows:
            line = table.row()
            for cell in cells:
                line.cell(cell)
    pdf.ln(2)


def make_contract(path: Path) -> None:
    """A contract of seven clauses with a table."""
    document = Document()
    for kind, text in CONTRACT:
        if kind == "title":
            document.add_heading(text, level=0)
        elif kind == "h":
            document.add_heading(text, level=1)
        elif kind == "table":
            rows = [line.split("|") for line in text.split(";")]
            table = document.add_table(rows=0, cols=3, style="Table Grid")
            for cells in rows:
                for cell, value in zip(table.add_row().cells, cells, strict=True):
                    cell.text = value
        else:
            document.add_paragraph(text)
    properties = document.core_properties
    properties.title, properties.author = "Cleaning contract AY-2024-117", "Jonas Whitfield"
    properties.created = properties.modified = WRITTEN
    document.save(str(path))


if __name__ == "__main__":
    make_handbook(FOLDER / "house-handbook-2025.pdf")
    make_contract(FOLDER / "cleaning-contract.docx")
